"""Where tests stand: those of one module mirror cure/, and what tests share is no test."""

import ast
import tomllib

import pytest

from tests.support.project import ROOT

TESTS = ROOT / "tests"
UNIT = TESTS / "unit"
PLACES = {"benchmarks", "cuda", "golden", "methods", "pipeline", "policy", "support", "unit"}
FILES = sorted(path for path in TESTS.rglob("*.py") if path.name != "__init__.py")


def test_a_test_has_one_of_these_places():
    assert {path.parent.relative_to(TESTS).parts[:1] for path in FILES} == {(), *((place,) for place in PLACES)}
    assert [path.name for path in TESTS.glob("*.py") if path.name not in ("__init__.py", "conftest.py")] == []


@pytest.mark.parametrize("path", sorted(UNIT.rglob("test_*.py")), ids=lambda path: str(path.relative_to(UNIT)))
def test_a_unit_test_stands_where_its_subject_does(path):
    """test_NAME.py or test_NAME_more.py is about NAME.py of that folder of cure/, test_every_X.py about the folder."""
    folder, name = ROOT / "cure" / path.parent.relative_to(UNIT), path.stem.removeprefix("test_")
    subjects = {file.stem for file in folder.glob("*.py")} | {file.name for file in folder.iterdir() if file.is_dir()}
    assert folder.is_dir()
    assert name.startswith("every_") or any(name == one or name.startswith(f"{one}_") for one in subjects)


def test_no_test_imports_from_a_test():
    nodes = [(path, node) for path in FILES for node in ast.walk(ast.parse(path.read_text()))]
    named = [(path, node.module or "") for path, node in nodes if isinstance(node, ast.ImportFrom)]
    named += [(path, alias.name) for path, node in nodes if isinstance(node, ast.Import) for alias in node.names]
    inside = [(path.relative_to(ROOT), name) for path, name in named if name.split(".")[0] == "tests"]
    assert inside
    assert [f"{path} imports {name}" for path, name in inside if name.split(".")[1:2] != ["support"]] == []


def test_shapes_are_checked_wherever_they_are_annotated():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    (checked,) = [text.partition("=")[2].split(",") for text in options if text.startswith("--jaxtyping-packages=")]
    sources = {path: path.read_text() for path in (ROOT / "cure").rglob("*.py")}
    annotated = [path for path, text in sources.items() if "core.tensors" in text or "from jaxtyping" in text]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in annotated]
    assert names
    assert [name for name in names if not any(f"{name}.".startswith(f"{one}.") for one in checked)] == []
