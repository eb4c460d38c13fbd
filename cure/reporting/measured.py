"""Read the CSV files of reports/ that a `make` command measured or estimated, and the report uses."""

import csv
from pathlib import Path

from cure.errors import UserError
from cure.storage.files import refuse_special


def load(path: Path, columns: list[str], numbers: list[str], made_by: str) -> list[dict[str, str]]:
    """Return the lines of a CSV file, each a value by column; none without the file.

    Args:
        path: the file.
        columns: the columns that every line must have.
        numbers: those of them whose values must be numbers.
        made_by: the command that writes the file anew, for the error.

    Raises:
        UserError: the file cannot be read, lacks a column, or has another value where a number must be.
    """
    if not path.exists():
        return []
    refuse_special(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            read = csv.DictReader(file, strict=True)
            lines = list(read)
        if missing := [name for name in columns if name not in (read.fieldnames or [])]:
            raise ValueError(f"no column {', '.join(missing)}")
        for line in lines:
            [float(line[name]) for name in numbers]
    except (OSError, TypeError, ValueError, csv.Error) as problem:
        raise UserError(f"{path}: cannot be read ({problem}); `{made_by}` writes it anew") from None
    return lines
