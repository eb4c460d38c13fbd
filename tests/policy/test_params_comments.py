"""Each section of the three params.yaml says what it is for, and `dvc exp run -S` keeps every comment."""

from difflib import ndiff
from itertools import pairwise
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from tests.support.project import ROOT

FILES = ("params.yaml", "quickstart/params.yaml", "pilot/params.yaml")


def sections(text: str) -> dict[str, bool]:
    """Return whether each key at the top of a params.yaml has a comment above it or behind it."""
    lines = ["", *text.splitlines()]
    pairs = [(before, line) for before, line in pairwise(lines) if line[:1].isalpha()]
    return {line.partition(":")[0]: before.startswith("# ") or "  # " in line for before, line in pairs}


def changed(before: str, after: str) -> list[str]:
    return [line for line in ndiff(before.splitlines(), after.splitlines()) if line[:1] in "+-"]


@pytest.mark.parametrize("name", FILES)
def test_every_section_says_what_it_is_for(name: str) -> None:
    found = sections((ROOT / name).read_text())
    assert {"alpha", "grid", "methods", "root"} <= set(found)
    assert [key for key, told in found.items() if not told] == []


def test_a_section_without_a_purpose_is_seen() -> None:
    found = sections("# Data.\ndata: 1\n\nmodels:\n  a: 2\ngrid:  # rows\n  b: 1\n")
    assert found == {"data": True, "models": False, "grid": True}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("override", "lines"), [("train.epochs=7", 2), ("grid.seeds=[0,1]", None)])
def test_an_experiment_changes_its_own_lines_and_no_comment(
    tmp_path: Path, name: str, override: str, lines: int | None
) -> None:
    # DVC writes lists anew, and with them goes every comment or blank line that follows a list
    path, before = tmp_path / "params.yaml", (ROOT / name).read_text()
    path.write_text(before)
    apply_overrides(str(path), [override])
    found = changed(before, path.read_text())
    assert not any("#" in line for line in found if override.startswith("grid"))
    assert lines is None or len(found) == lines
