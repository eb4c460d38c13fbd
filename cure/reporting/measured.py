"""Read the CSV files of measurements and estimates that a `make` command wrote to reports/, for the report."""

import csv
from pathlib import Path

from cure.errors import UserError
from cure.storage.files import refuse_special


def load(path: Path, columns: list[str], numbers: list[str], made_by: str) -> list[dict[str, str]]:
    """Return the lines of a CSV file, each as column -> text; [] if the file does not exist.

    Args:
        path: The file.
        columns: The columns that every line must have.
        numbers: The columns whose values must be numbers.
        made_by: The command that rewrites the file, for the error message.

    Raises:
        UserError: The file cannot be read, lacks a column, or has a value that is not a number.
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
