"""Show: print the table of the last report, and the path of its page.

Reads reports/table.md. Writes no file. DVC runs it every time, so that `dvc repro` ends with the table even if nothing
changed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

import typer

from cure.errors import UserError
from cure.reporting.printed import show


def main() -> None:
    """Print reports/table.md of the current folder and the path of reports/index.html."""
    try:
        show(Path("reports/table.md"))
    except UserError as error:  # other stages use cure/runtime/terminal.py, which imports too much
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
