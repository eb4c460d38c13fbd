"""A second process on a run waits; a killed `dvc repro` never leaves two trainers on one run."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.clone import AT, outs_of_update, set_param, update

pytestmark = pytest.mark.reliability("second process")

WAITS = re.compile(r"update digits/small/at-s0: process (\d+) runs this run; waiting until it ends")


@pytest.fixture(scope="module")
def trained(fresh, tmp_path_factory):
    """A clone in which the run was trained undisturbed, for long enough to be met at it; and what it wrote."""
    clone = fresh.copy(tmp_path_factory.mktemp("second"))
    set_param("train.epochs", 40)(clone.params)
    clone.run("dvc", "repro", AT)
    return clone, {name: path.read_bytes() for name, path in outs_of_update(clone, "at").items()}


def disturbed(clone):
    for path in outs_of_update(clone, "at").values():
        path.unlink()


def until(true, process):
    """Wait for something to happen while the process runs."""
    while not true():
        assert process.poll() is None, "it ended before"
        time.sleep(0.01)


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"  # a zombie has ended


def test_a_second_trainer_says_that_it_waits_and_both_end_in_the_same_bytes(trained, tmp_path):
    clone, expected = trained[0].copy(tmp_path), trained[1]
    disturbed(clone)
    with clone.started(*update("at")) as first:
        until(clone.resume_file, first)
        os.kill(first.pid, signal.SIGSTOP)  # on a busy machine it could end before the second begins
        how = {"cwd": clone.quickstart, "env": clone.environment, "text": True}
        second = subprocess.Popen(update("at"), stderr=subprocess.PIPE, **how)
        assert WAITS.match(second.stderr.readline())[1] == str(first.pid)
        assert first.poll() is None
        assert second.poll() is None
        os.kill(first.pid, signal.SIGCONT)
        assert first.wait() == 0
    assert second.wait() == 0, second.stderr.read()
    second.stderr.close()
    assert {name: path.read_bytes() for name, path in outs_of_update(clone, "at").items()} == expected


def test_after_the_death_of_dvc_its_trainer_and_the_next_dvc_never_train_at_once(trained, tmp_path):
    clone, expected = trained[0].copy(tmp_path), trained[1]
    disturbed(clone)
    with clone.started("dvc", "repro", "-f", "-s", "--no-run-cache", AT) as dvc:
        until(clone.resume_file, dvc)
        (lock,) = (path for path in clone.scratch.glob("*.lock"))
        orphan = int(lock.read_text())
        os.kill(dvc.pid, signal.SIGKILL)
        dvc.wait()
        assert runs(orphan)
        os.kill(orphan, signal.SIGSTOP)  # on a busy machine it could end before the next one begins
        how = {"cwd": clone.quickstart, "env": clone.environment, "text": True}
        words = ["dvc", "repro", "-f", "-s", "--no-run-cache", AT]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how) as again:
            said = next(found for found in map(WAITS.search, again.stdout) if found)
            assert again.poll() is None
            os.kill(orphan, signal.SIGCONT)
            again.stdout.read()
        assert said[1] == str(orphan)
        assert again.returncode == 0
        assert not runs(orphan)
    assert {name: path.read_bytes() for name, path in outs_of_update(clone, "at").items()} == expected
    assert clone.run("dvc", "status", AT).strip().endswith("up to date.")
