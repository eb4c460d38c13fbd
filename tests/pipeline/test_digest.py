"""The stage `code`: what a digest leaves out and what it does not, and which texts are written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.digest import KNOWN, closure, data, digest, starts, text
from tests.support.project import ROOT

SOURCE = '''"""Module."""

LEVEL = 3  # a comment
"""What stands behind a constant."""


class Thing:
    """Class."""

    name = "# no comment"

    def value(self, x: int) -> str:
        """Function,
        over lines.
        """
        text = f"{x}# {self.name}"  # another
        return (
            "a"  # first
            "b"
        ) + text
'''
PROSE = {
    "comment": ("  # a comment", ""),
    "comment in brackets": ("  # first", ""),
    "docstring": ('"""Module."""', '"""Another, with a longer text."""'),
    "docstring of lines": ("        over lines.\n", "        over\n        more lines.\n"),
    "string behind a constant": ('"""What stands behind a constant."""\n', ""),
    "blank line": ("\n\n\nclass", "\n\nclass"),
    "space at the end": (") + text", ") + text  "),
}
CODE = {
    "number": ("LEVEL = 3", "LEVEL = 4"),
    "string": ("# no comment", "# a comment"),
    "text of an f-string": ("{x}# ", "{x}## "),
    "part of a string": ('"b"', '"c"'),
    "name": ("def value", "def number"),
    "indentation": ("        return (", "         return ("),
}


def edited(before: str, after: str) -> str:
    assert before in SOURCE
    return SOURCE.replace(before, after, 1)


@pytest.mark.parametrize("kind", PROSE)
def test_prose_changes_no_digest(kind: str) -> None:
    assert edited(*PROSE[kind]) != SOURCE
    assert digest(edited(*PROSE[kind])) == digest(SOURCE)


@pytest.mark.parametrize("kind", CODE)
def test_code_changes_the_digest(kind: str) -> None:
    assert digest(edited(*CODE[kind])) != digest(SOURCE)


def test_a_digest_is_the_same_on_every_python() -> None:
    assert digest(SOURCE) == "e5679053529d6630"


def test_a_closure_goes_through_imports_inside_functions_and_templates() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in closure(ROOT / "stages/report.py")}
    assert {
        "cure/reporting/build.py",
        "cure/reporting/html/page.html",
        "cure/reporting/html/page.css",
        "cure/reporting/html/page.js",
        "cure/storage/files.py",
    } <= found
    assert text(ROOT / "cure/errors.py").splitlines() == [
        f"{digest((ROOT / 'cure/errors.py').read_text())} cure/errors.py"
    ]


def test_every_stage_and_every_entry_of_a_run_has_a_text_and_of_others_those_that_params_name() -> None:
    params = {"attack": {"columns": {"mine": {"attack": "pgd"}}}, "report": {"figures": ["cka", "no such figure"]}}
    found = {name.as_posix() for name in starts(params)}
    stages = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"digest"}
    assert {name for name in found if name.startswith("stages/")} == {f"stages/{name}.txt" for name in stages}
    assert {name for name in found if name.startswith(("attacks", "corruptions", "analyses", "figures"))} == {
        "attacks/pgd.txt",
        "figures/cka.txt",
    }
    assert {"methods/cure.txt", "models/resnet18.txt", "datasets/cifar10.txt"} <= found


@pytest.mark.parametrize(
    "broken", [None, [], {"attack": 3}, {"attack": {"columns": {"a": 1}}}, {"report": {"figures": 1}}]
)
def test_settings_that_are_none_name_nothing(broken: object) -> None:
    assert not any(name.parts[0] in ("attacks", "figures") for name in starts(broken))


def ran(folder: Path) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-X", "importtime", str(ROOT / "stages/digest.py")]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def test_it_writes_what_changed_deletes_what_is_gone_and_imports_no_torch(tmp_path: Path) -> None:
    shutil.copy(ROOT / "quickstart/params.yaml", tmp_path)
    first = ran(tmp_path)
    assert first.returncode == 0, first.stderr
    assert " torch\n" not in first.stderr
    kept, gone = tmp_path / "code/methods/cure.txt", tmp_path / "code/methods/gone.txt"
    whole, before = kept.read_text(), kept.stat().st_mtime_ns
    gone.write_text("0 cure/methods/gone.py\n")
    (tmp_path / "code/methods/at.txt").write_text("other")
    assert ran(tmp_path).returncode == 0
    assert kept.stat().st_mtime_ns == before
    assert not gone.exists()
    assert (tmp_path / "code/methods/at.txt").read_text() == text(ROOT / "cure/methods/at.py")
    assert whole == text(ROOT / "cure/methods/cure.py")


def test_a_folder_without_settings_is_refused(tmp_path: Path) -> None:
    done = ran(tmp_path)
    assert done.returncode == 2
    assert "error: params.yaml: cannot be read" in done.stderr
    (tmp_path / "params.yaml").write_text("a: [")
    assert ran(tmp_path).returncode == 2


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(name.encode())
    return tmp_path / "images"


def line(root: Path) -> str:
    return data({"grid": {"datasets": ["folder"]}, "datasets": {"folder": {"path": str(root)}}})[
        Path("datasets/folder.txt")
    ]


CHANGES = {
    "an image more": lambda root: (root / "train/cat/2.png").write_bytes(b"more"),
    "an image less": lambda root: (root / "train/cat/1.png").unlink(),
    "another image": lambda root: (root / "train/cat/1.png").write_bytes(b"train/cat/2.png"),
    "another name": lambda root: (root / "train/cat/1.png").rename(root / "train/cat/3.png"),
    "another class": lambda root: (root / "train/cat").rename(root / "train/cow"),
    "none": lambda root: shutil.rmtree(root),
}


@pytest.mark.parametrize("change", CHANGES)
def test_images_at_a_path_of_the_users_are_in_the_text_of_their_data_set(images: Path, change: str) -> None:
    before = line(images)
    assert before.endswith(" datasets.folder.path\n")
    assert line(images) == before
    CHANGES[change](images)
    assert line(images) != before


def test_images_are_told_by_their_names_and_bytes_wherever_they_lie(images: Path, monkeypatch) -> None:
    before = line(images)
    (images / ".cache").write_text("hidden")
    moved = shutil.copytree(images, images.parent / "elsewhere")
    monkeypatch.setenv("IMAGES", str(images.parent))
    assert line(moved) == line(Path("$IMAGES/images")) == before


def test_an_image_is_read_once_as_long_as_it_is_the_same(images: Path, monkeypatch) -> None:
    line(images)
    monkeypatch.setattr("stages.digest.sha256", None)
    assert line(images)
    assert str(images / "train/cat/1.png") in KNOWN


def test_a_data_set_that_no_run_uses_is_not_read(images: Path) -> None:
    assert data({"grid": {"datasets": ["digits"]}, "datasets": {"folder": {"path": str(images)}, "digits": {}}}) == {}
    assert data({"grid": {"datasets": 3}, "datasets": []}) == data({}) == data(None) == {}
