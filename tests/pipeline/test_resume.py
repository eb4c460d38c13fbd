"""A stage that was killed continues, and ends in the bytes of a run that nobody disturbed."""

import re
import sys
import time

import pytest
import torch

from tests.support.clone import (
    EPOCHS,
    outs_of_update,
    update,
)


def killed_midway(made, place, method):
    """A copy of `made` in which the training of one run was killed without warning after its first epochs."""
    clone = made.copy(place)
    for path in outs_of_update(clone, method).values():
        path.unlink()
    with clone.started(*update(method)) as victim:
        while victim.poll() is None and not clone.resume_file():
            time.sleep(0.01)
        assert victim.poll() is None, (clone.scratch / "output").read_text()
    assert outs_of_update(clone, method) == {}
    return clone


def resumed(clone, method):
    clone.run(*update(method))
    return {name: path.read_bytes() for name, path in outs_of_update(clone, method).items()}


def state_of(resume_file):
    return torch.load(resume_file, weights_only=True)


def test_killed_and_run_again_it_ends_in_the_same_bytes(made, tmp_path):
    clone = killed_midway(made, tmp_path, "cure")
    assert 1 <= len(state_of(clone.resume_file())["kept"]["history"]) < EPOCHS
    undisturbed = {name: path.read_bytes() for name, path in outs_of_update(made, "cure").items()}
    assert set(undisturbed) == {"trajectories", "curves", "provenance"}
    assert resumed(clone, "cure") == undisturbed
    assert clone.resume_file() is None


def test_run_again_it_continues_where_it_was_killed(made, tmp_path):
    clone = killed_midway(made, tmp_path, "trades")
    state = state_of(clone.resume_file())
    state["kept"]["history"][0]["lr"] = 7.0  # a mark that only a resumed run carries on
    torch.save(state, clone.resume_file())
    expected = {name: path.read_bytes() for name, path in outs_of_update(made, "trades").items()}
    assert set(expected) == {"weights", "trajectories", "curves", "provenance"}
    expected["curves"] = re.sub(rb"(?m)^1,[^,]+,", b"1,7.0,", expected["curves"])
    assert resumed(clone, "trades") == expected


@pytest.mark.parametrize("stage", ["attack", "corrupt"])
def test_an_evaluation_that_was_killed_continues_and_ends_in_the_same_bytes(made, tmp_path, stage):
    clone = made.copy(tmp_path)
    result = clone.quickstart / f"results/digits/small/at-s0-{stage}.json"
    undisturbed = result.read_bytes()
    result.unlink()
    command = [sys.executable, f"../stages/{stage}.py", "digits", "small", "at", "0"]
    with clone.started(*command) as victim:
        while victim.poll() is None and not any(clone.scratch.glob("*/*.safetensors")):
            time.sleep(0.001)
        assert victim.poll() is None, (clone.scratch / "output").read_text()
    assert any(clone.scratch.glob("*/*.safetensors"))
    assert not result.exists()
    clone.run(*command)
    assert result.read_bytes() == undisturbed
    assert not any(clone.scratch.glob("*/*.safetensors"))
