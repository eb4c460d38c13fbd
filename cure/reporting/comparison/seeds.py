"""Report the deviation of robust accuracy over seeds from reports/seeds.csv, which `python -m tools.seeds` writes."""

import csv
from pathlib import Path

from cure.core.names import NAMES
from cure.errors import UserError
from cure.storage.files import refuse_special

COLUMNS = ["dataset", "model", "method", "column", "seeds", "deviation", "commit"]


def told(path: Path, column: str, title: str) -> list[str]:
    """Return a note for a table of one seed: the deviation of each method in seeds.csv; empty without the file.

    `column` is an attack column, and `title` its heading. A deviation is a sample standard deviation, in points.
    """
    lines = [line for line in _read(path) if line["column"] == column] if path.exists() else []
    if not lines:
        return []
    moved = ", ".join(f"{NAMES.get(one['method'], one['method'])} {float(one['deviation']):.1f}" for one in lines)
    return [
        f"Over {lines[0]['seeds']} seeds {title} has a standard deviation of this many points at this scale: {moved} "
        "(seeds.csv). Two rows of one seed that differ by less than three of them may be in any order."
    ]


def _read(path: Path) -> list[dict[str, str]]:
    refuse_special(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        for line in lines:
            float(line["deviation"]), *(line[name] for name in COLUMNS)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as problem:
        raise UserError(f"{path}: not a list of deviations ({problem}); `make seeds` writes it anew") from None
    return lines
