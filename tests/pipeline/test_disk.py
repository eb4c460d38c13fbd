"""A full disk, a read-only folder, files that vanish: exit code 2, plain words, old results as they were."""

import contextlib
import os
import shutil
import subprocess
import sys

import pytest

from cure.data import prepared
from cure.errors import UserError
from cure.settings.sections import FAMILIES
from cure.storage import resume as resume_files
from tests.support.settings import QUICKSTART
from tests.support.stages import (
    ATTACK,
    CORRUPT,
    DATA,
    NATURAL,
    UPDATE_TRADES,
    call,
    command,
    edit_params,
    everything,
    full_disk,
    refusal,
)

pytestmark = pytest.mark.reliability("faults of disk and memory")
ROOM = 16 * 2**20


@contextlib.contextmanager
def mounted(place):
    """A small file system of its own, or None where mounting is not allowed."""
    place.mkdir()
    how = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)]
    allowed = sys.platform == "linux" and subprocess.run(how, capture_output=True, check=False).returncode == 0
    try:
        yield allowed
    finally:
        if allowed:
            subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def disk(tmp_path):
    """(a small disk, its filler that takes all room, its switch to read-only), or stand-ins without mounting."""
    with mounted(tmp_path / "disk") as small:
        yield Disk(tmp_path / "disk", small)


class Disk:
    def __init__(self, place, small):
        self.place, self.small = place, small

    @contextlib.contextmanager
    def full(self, room=0):
        """So much room for other files, and no more; without a small disk, 512 bytes for each."""
        if not self.small:
            with full_disk():
                yield
            return
        filler = self.place / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
            os.ftruncate(file.fileno(), file.tell() - room)
        yield
        filler.unlink()

    @contextlib.contextmanager
    def read_only(self):
        if self.small:
            subprocess.run(["mount", "-o", "remount,ro", str(self.place)], check=True)
            yield
            subprocess.run(["mount", "-o", "remount,rw", str(self.place)], check=True)
            return
        folders = [self.place, *(path for path in self.place.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        yield
        for folder in folders:
            folder.chmod(0o755)


@pytest.fixture
def folder(finished, disk):
    """The pipeline on the small disk, with one attack and one corruption; its resume files are elsewhere."""
    folder = shutil.copytree(finished, disk.place / "pipeline")
    ascent = QUICKSTART["attack"]["columns"]["pgd20"]
    few = {"images": 40, "subset": {}, "table": ["pgd20"], "nrr": "pgd20", "last": [], "columns": {"pgd20": ascent}}
    edit_params(folder, "attack", QUICKSTART["attack"] | few)
    edit_params(folder, "corrupt", QUICKSTART["corrupt"] | {"corruptions": ["contrast"], "severities": [1]})
    for name in ("attack", "corrupt"):
        old = folder / f"results/digits/small/natural-s0-{name}.json"
        old.parent.mkdir(parents=True, exist_ok=True)
        old.write_text("an old result")
    return folder


STAGES = {"update": UPDATE_TRADES, "attack": ATTACK, "corrupt": CORRUPT}


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_leaves_the_old_results(folder, disk, stage):
    with disk.full():
        said = refusal(folder, *STAGES[stage])
    assert "s0" in said
    assert "cannot be written: " in said
    assert said.endswith(("No space left on device; nothing was changed", "File too large; nothing was changed"))


@pytest.mark.parametrize("stage", ["update", "attack"])
def test_resume_files_on_a_full_disk_are_refused_by_their_path(folder, disk, stage, monkeypatch):
    monkeypatch.setattr(resume_files, "FOLDER", disk.place / "scratch")
    (disk.place / "scratch").mkdir()
    with disk.full():
        assert str(disk.place / "scratch") in refusal(folder, *STAGES[stage])


@pytest.mark.parametrize("stage", STAGES)
def test_a_read_only_folder_leaves_the_old_results(folder, disk, stage):
    with disk.read_only():
        said = refusal(folder, *STAGES[stage])
    assert said.endswith(("Read-only file system; nothing was changed", "Permission denied; nothing was changed"))


@pytest.fixture
def reported(folder):
    """The pipeline with one row, evaluated and reported."""
    for key in FAMILIES:
        edit_params(folder, f"grid.{key}", [])
    for key in ("grid.analyse", "grid.layers.models", "report.against"):
        edit_params(folder, key, [])
    edit_params(folder, "grid.pretrain", ["small"])
    edit_params(folder, "roles", {"robust": "natural", "teacher": "natural"})
    for stage in (ATTACK, CORRUPT, ("report",)):
        call(folder, *stage)
    return folder


@pytest.mark.parametrize("room", [0, 8192])
def test_a_report_on_a_full_disk_leaves_the_old_pages(reported, disk, room):
    assert (reported / "reports/table.md").exists()
    with disk.full(room):
        assert "cannot be written: " in refusal(reported, "report")


def test_data_that_vanish_while_a_stage_starts_are_named(folder, monkeypatch):
    real = prepared.load

    def then_gone(path, *how):
        found = real(path, *how)
        path.unlink()
        return found

    monkeypatch.setattr(prepared, "load", then_gone)
    (folder / DATA).rename(folder / "kept")
    for stage in STAGES.values():
        shutil.copy(folder / "kept", folder / DATA)
        before = {path: content for path, content in everything(folder).items() if path != folder / DATA}
        with pytest.raises(UserError, match=r"^data/digits\.safetensors: cannot be read: No such file or directory$"):
            call(folder, *stage)
        assert everything(folder) == before


def test_inputs_that_vanish_under_a_running_stage_change_nothing(folder, monkeypatch):
    """They were read, and are named by their digest; the results are those of the undisturbed run."""
    call(folder, *ATTACK)
    expected = (folder / "results/digits/small/natural-s0-attack.json").read_bytes()
    locked = resume_files.Scratch.locked

    def then_gone(self):
        (folder / DATA).unlink()
        (folder / NATURAL).unlink()
        return locked(self)

    monkeypatch.setattr(resume_files.Scratch, "locked", then_gone)
    call(folder, *ATTACK)
    assert (folder / "results/digits/small/natural-s0-attack.json").read_bytes() == expected


def test_a_user_sees_exit_code_2_on_a_full_disk(folder, disk):
    if not disk.small:
        pytest.skip("needs a small disk")
    with disk.full():
        ended = command(folder, *ATTACK)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert (folder / "results/digits/small/natural-s0-attack.json").read_text() == "an old result"
