"""DVC's list of locks after a process was killed: mended if it cannot be read, rid of the dead of other hosts."""

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from cure.pipeline.grid import rwlock

Entry = dict[str, Any]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """The list of a new project."""
    Repo.init(str(tmp_path), no_scm=True).close()
    return tmp_path / ".dvc/tmp/rwlock"


def log_of(stage: str) -> Path:
    return Path(f"{stage}.log")


def of_stage(folder: Path, stage: str, pid: int) -> Entry:
    return {"pid": pid, "cmd": f"/env/dvc/__main__.py --cd {folder} --wait-for-lock repro -s {stage}"}


@pytest.mark.parametrize("text", ["", '{"write": {', '{"write": {"a": 1}}', "[]"])
def test_a_list_that_cannot_be_read_is_deleted(tmp_path: Path, listed: Path, text: str) -> None:
    listed.write_text(text)
    rwlock.mend(tmp_path)
    assert not listed.exists()


def test_a_good_list_stays_and_none_is_made(tmp_path: Path, listed: Path) -> None:
    rwlock.mend(tmp_path)
    assert not listed.exists()
    text = json.dumps({"read": {}, "write": {"out": {"pid": 1, "cmd": "dvc repro"}}})
    listed.write_text(text)
    rwlock.mend(tmp_path)
    assert listed.read_text() == text


def test_the_entry_of_a_stage_that_nobody_runs_is_dropped_and_others_are_named(
    tmp_path: Path, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of a process of another host belongs to somebody here, so DVC would wait for it without end."""
    monkeypatch.chdir(tmp_path)
    dead, running = of_stage(tmp_path, "dead", os.getpid()), of_stage(tmp_path, "running", os.getpid())
    foreign, elsewhere = {"pid": os.getpid(), "cmd": "dvc repro"}, of_stage(tmp_path / "other", "dead", os.getpid())
    listed.write_text(
        json.dumps({"write": {"a": dead, "b": foreign}, "read": {"c": [dead, running], "d": [elsewhere]}})
    )
    with log_of("running").open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        unknown = rwlock.strangers(tmp_path, log_of)
    assert sorted(unknown) == sorted(f"PID {os.getpid()}: {entry['cmd']}" for entry in (foreign, elsewhere))
    assert json.loads(listed.read_text()) == {"write": {"b": foreign}, "read": {"c": [running], "d": [elsewhere]}}


def test_a_process_that_runs_here_is_no_stranger(tmp_path: Path, listed: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        entry = {"pid": process.pid, "cmd": "/some/dvc/__main__.py 60"}
        listed.write_text(json.dumps({"write": {"a": entry}, "read": {}}))
        assert rwlock.strangers(tmp_path, log_of) == []
        process.kill()
    assert len(rwlock.strangers(tmp_path, log_of)) == 1
