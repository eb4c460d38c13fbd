"""Report the deviation of robust accuracy over seeds from reports/seeds.csv, which `python -m tools.seeds` writes."""

from pathlib import Path

from cure.core.names import NAMES
from cure.storage.files import csv_lines

COLUMNS = ["dataset", "model", "method", "column", "seeds", "deviation", "commit"]


def told(path: Path, column: str, title: str) -> list[str]:
    """Return a note for a table of one seed: the deviation of each method in seeds.csv; empty without the file.

    `column` is an attack column, and `title` its heading. A deviation is a sample standard deviation, in points.
    """
    lines = [line for line in csv_lines(path, COLUMNS, ["deviation"], "make seeds") if line["column"] == column]
    if not lines:
        return []
    moved = ", ".join(f"{NAMES.get(one['method'], one['method'])} {float(one['deviation']):.1f}" for one in lines)
    return [
        f"Over {lines[0]['seeds']} seeds {title} has a standard deviation of this many points at this scale: {moved} "
        "(seeds.csv). Two rows of one seed that differ by less than three of them may be in any order."
    ]
