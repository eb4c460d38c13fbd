"""A finished pipeline in a folder of its own."""

import fcntl
import os
import shutil

import pytest

from cure.storage import resume as resume_files
from tests.support.clone import Clone, tiny_clone
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
    return tiny_clone(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The tiny quickstart, reproduced and committed by whichever process comes first, and what DVC printed."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (place / "printed").exists():
            return Clone(place / "clone", place / "scratch"), (place / "printed").read_text()
        clone = tiny_clone(place)
        printed = clone.run("dvc", "--cd", "quickstart", "repro", folder=".")
        clone.commit()
        (place / "printed").write_text(printed)
        return clone, printed


@pytest.fixture(scope="session")
def made(built, tmp_path_factory):
    """This process' copy of it. Whoever changes it for good takes another."""
    return built[0].copy(tmp_path_factory.mktemp("made"))
