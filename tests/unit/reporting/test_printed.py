"""The table of the last run on a terminal of any width."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT
from tests.support.terminal import ELLIPSIS, broken, cells, ran

TABLE = ROOT / "quickstart" / "reports" / "table.md"
PRINT = "import sys; from pathlib import Path; from cure.reporting.printed import show; show(Path(sys.argv[1]))"


def rows(path: Path) -> list[list[str]]:
    """Return the cells of the rows of a table.md."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_on_a_terminal_every_name_and_number_is_whole_and_beside_its_method(width: int) -> None:
    code, lines = ran([sys.executable, "-c", PRINT, TABLE], width, ROOT)
    assert code == 0
    assert "\n".join(lines).split("- Percent")[0].count("digits/small") == 1  # one setting stands in the title
    assert ELLIPSIS not in "".join(lines)
    assert all(len(line) <= width for line in lines if not line.startswith("report: "))
    for _, method, *numbers in rows(TABLE):
        assert not broken([line for line in lines if line.startswith(f"{method} ")], numbers)


def test_at_80_columns_a_method_has_two_lines_and_at_100_one() -> None:
    for width, count in ((80, 2), (100, 1)):
        lines = ran([sys.executable, "-c", PRINT, TABLE], width, ROOT)[1]
        assert len([line for line in lines if line.startswith("TRADES ")]) == count


def test_several_settings_stay_beside_their_methods(tmp_path: Path) -> None:
    text = re.sub(r"digits/small (\| (?:AT|CURE) )", r"digits/wide \1", TABLE.read_text())
    (tmp_path / "table.md").write_text(text)
    lines = ran([sys.executable, "-c", PRINT, tmp_path / "table.md"], 80, ROOT)[1]
    for setting, method, *numbers in rows(tmp_path / "table.md"):
        own = [cell for line in cells(lines) if line[:2] == [setting, method] for cell in line[2:]]
        assert own == numbers


def test_without_a_terminal_a_row_is_a_line() -> None:
    words = [sys.executable, "-c", PRINT, TABLE]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    printed = cells(said.splitlines())
    assert all(row[1:] in printed for row in rows(TABLE))
