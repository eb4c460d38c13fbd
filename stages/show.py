"""Show: print the table of the last report, and the path of its page.

Reads reports/table.md. Writes no file. DVC runs it every time, so that `dvc repro` ends with the table even if nothing
changed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure.reporting.printed import show
from cure.runtime.terminal import stage


def main() -> None:
    """Print reports/table.md of the current folder and the path of reports/index.html."""
    show(Path("reports/table.md"))


if __name__ == "__main__":
    stage(main)
