"""A finished pipeline in a folder of its own."""

import shutil
import subprocess

import pytest

from cure.storage import resume as resume_files
from tests.support.clone import Clone, shrink
from tests.support.project import ROOT
from tests.support.stages import REVISE_CURE, RUN, UPDATE_CURE, YAML_12, call, command, tiny


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which prepare, pretrain, update and revise have run."""
    folder = tmp_path_factory.mktemp("finished")
    YAML_12.dump(tiny(), folder / "params.yaml")
    done = command(folder, "prepare", "digits")
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume_files, "FOLDER", tmp_path_factory.mktemp("scratch"))  # CURE_SCRATCH was read at the import
        for stage in (("pretrain", *RUN, 0), UPDATE_CURE, REVISE_CURE):
            call(folder, *stage)
    return folder


@pytest.fixture
def resume(tmp_path_factory, monkeypatch):
    """A folder of resume files for this test alone: of the commands it runs, and of this process."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("CURE_SCRATCH", str(folder))
    monkeypatch.setattr(resume_files, "FOLDER", folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "pipeline")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """The working tree with a tiny quickstart that was never run."""
    place = tmp_path_factory.mktemp("repro")
    clone = Clone(place / "clone", place / "scratch")
    clone.scratch.mkdir()
    listed = ["git", "-C", ROOT, "ls-files", "-coz", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file() and name != "quickstart/dvc.lock":
            (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone.root / name)
    clone.params.write_text(shrink(clone.params.read_text()))
    clone.run("git", "init", "-q", folder=".")
    clone.commit()
    return clone


@pytest.fixture(scope="session")
def first(fresh):
    """What the one repro printed; afterwards its results are committed."""
    output = fresh.run("dvc", "repro", "quickstart/dvc.yaml", folder=".")
    fresh.commit()
    return output


@pytest.fixture(scope="session")
def made(fresh, first):
    """The tiny quickstart, reproduced and committed. Whoever changes it for good takes a copy."""
    return fresh
