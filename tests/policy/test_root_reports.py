"""The paper's tables in reports/ of the root: as `cure report` writes them, until rows were run."""

import shutil
from pathlib import Path

import pytest

from cure.cli import report
from tests.support.project import ROOT


def test_they_are_what_the_command_writes_while_nothing_was_run(tmp_path: Path) -> None:
    if "Nothing of this grid was run yet." not in (ROOT / "reports/table.md").read_text():
        pytest.skip("rows were run; their results are not in git")
    (tmp_path / "reports").mkdir()
    for name in ("params.yaml", "reports/costs.csv"):
        shutil.copy(ROOT / name, tmp_path / name)
    report(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {name: (ROOT / name).read_bytes() for name in made} == made


def test_every_row_says_what_it_would_cost() -> None:
    lines = [line for line in (ROOT / "reports/table.md").read_text().splitlines() if line.startswith("| cifar10/")]
    assert lines
    assert [line for line in lines if "not run yet" in line and "GPU-hours |" not in line] == []
