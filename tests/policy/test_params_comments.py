"""Each section of the three params.yaml has a line of purpose, and an override drops no comment and breaks no file.

`dvc exp run -S` and ruamel write a replaced list anew: a comment or a blank line that belongs to a list is lost, or
breaks the file.
"""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from tests.support.project import ROOT

FILES = ("params.yaml", "quickstart/params.yaml", "pilot/params.yaml")


def sections(text: str) -> dict[str, bool]:
    """Return whether each key at the top of a params.yaml has a comment above it or behind it."""
    lines = ["", *text.splitlines()]
    pairs = [(before, line) for before, line in pairwise(lines) if line[:1].isalpha()]
    return {line.partition(":")[0]: before.startswith("# ") or "  # " in line for before, line in pairs}


def of_lists(text: str) -> list[str]:
    """Return the comments and blank lines that belong to a list: behind its key, within it or right after it."""
    found = []
    for line, after in pairwise(text.splitlines()):
        key, _, value = line.partition(":")
        item = line.lstrip().startswith("- ")
        opens = after.lstrip().startswith("- ") or value.strip().startswith("[")
        if "#" in line and not key.lstrip().startswith("#") and (item or opens):
            found.append(line)
        if (item or value.strip() == "[]") and (not after.strip() or after.lstrip().startswith("#")):
            found.append(after)
    return found


def lists(node: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(node, dict):
        return [found for key, value in node.items() for found in lists(value, (*path, str(key)))]
    return [path] if isinstance(node, list) else []


@pytest.mark.parametrize("name", FILES)
def test_every_section_says_what_it_is_for(name: str) -> None:
    found = sections((ROOT / name).read_text())
    assert {"alpha", "grid", "methods", "root"} <= set(found)
    assert [key for key, told in found.items() if not told] == []


def test_a_section_without_a_purpose_is_seen() -> None:
    found = sections("# Data.\ndata: 1\n\nmodels:\n  a: 2\ngrid:  # rows\n  b: 1\n")
    assert found == {"data": True, "models": False, "grid": True}


@pytest.mark.parametrize("name", FILES)
def test_no_comment_belongs_to_a_list(name: str) -> None:
    assert of_lists((ROOT / name).read_text()) == []


def test_a_comment_that_belongs_to_a_list_is_seen() -> None:
    assert of_lists("a:  # lost\n- 1\n# lost, too\nb: 2\nc: [3]  # and this\nd: []\n\ne: 4  # kept\nf: 5\n") == [
        "a:  # lost",
        "# lost, too",
        "c: [3]  # and this",
        "",
    ]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("value", [[], [1, 2]])
def test_overrides_of_every_list_keep_all_comments(tmp_path: Path, name: str, value: list[int]) -> None:
    path, before = tmp_path / "params.yaml", (ROOT / name).read_text()
    path.write_text(before)
    paths = [".".join(found) for found in lists(yaml.safe_load(before)) if not any(key.isdigit() for key in found)]
    assert len(paths) > 40
    apply_overrides(str(path), [f"{found}={json.dumps(value)}" for found in paths])
    after = path.read_text()
    assert yaml.safe_load(after)["grid"]["update"] == value
    assert [line.partition("#")[2] for line in after.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in before.splitlines() if "#" in line
    ]


def test_an_experiment_changes_its_own_lines_alone(tmp_path: Path) -> None:
    path, before = tmp_path / "params.yaml", (ROOT / "params.yaml").read_text()
    path.write_text(before)
    apply_overrides(str(path), ["train.epochs=7"])
    differing = [(a, b) for a, b in zip(before.splitlines(), path.read_text().splitlines(), strict=True) if a != b]
    assert differing == [("  epochs: 200", "  epochs: 7")]
