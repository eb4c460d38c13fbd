"""Saving a run while it goes on: what is written, how often, and what is said where it cannot be."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cure.errors import UserError
from cure.storage import resume
from cure.storage.resume import Saver, Scratch


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    monkeypatch.setattr(resume, "FOLDER", tmp_path)
    return Scratch("update", "run", {}, [])


@pytest.fixture
def saver(scratch: Scratch) -> Iterator[Saver]:
    with scratch.saver(set()) as saver:
        yield saver


def at(step: int) -> dict[str, Any]:
    return {"step": step, "weight": torch.full((3,), float(step)), "rows": [{"step": step}], "none": None}


def saved(scratch: Scratch) -> int:
    state = scratch.load()
    assert state is not None
    return int(state["step"])


def test_a_state_is_written_as_it_was_when_it_was_saved(scratch: Scratch, saver: Saver) -> None:
    state, part = at(1), {"weight": torch.ones(2)}
    saver.save(state, {"best": part}, last=True)
    state["weight"].mul_(7)
    state["rows"].append({"step": 2})
    state["rows"][0]["step"] = 9
    saver.wait()
    found = scratch.load()
    assert found is not None
    assert (found["weight"].tolist(), found["rows"], found["none"]) == ([1.0] * 3, [{"step": 1}], None)
    assert found["parts"]["best"]["weight"].tolist() == [1.0, 1.0]


def test_a_part_is_written_once_and_goes_when_nobody_names_it(scratch: Scratch, saver: Saver) -> None:
    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in scratch.folder.iterdir()}

    parts = {"best of epoch 1": {"w": torch.ones(2)}, "0/student": {"w": torch.zeros(2)}}
    saver.save(at(1), parts, last=True)
    saver.wait()
    first = files()
    saver.save(at(2), parts, last=True)
    saver.wait()
    assert files() == first
    assert set(first) == {"best of epoch 1.pt", "0_student.pt"}
    saver.save(at(3), {"0/student": parts["0/student"], "best of epoch 3": {"w": torch.ones(2)}}, last=True)
    saver.wait()
    assert set(files()) == {"best of epoch 3.pt", "0_student.pt"}
    assert saved(scratch) == 3
    scratch.delete()
    assert not scratch.folder.exists()
    assert scratch.load() is None


def test_saving_takes_its_share_of_the_time_and_no_more(
    scratch: Scratch, saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, write = [0.0], scratch.save

    def slow(*what: Any) -> None:
        clock[0] += 2.0
        write(*what)

    monkeypatch.setattr(resume.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(scratch, "save", slow)
    for now, expected in ((0.0, 1), (150.0, 1), (201.0, 1), (202.0, 4), (300.0, 4)):
        clock[0] = now
        saver.save(at({0.0: 1, 150.0: 2, 201.0: 3, 202.0: 4}.get(now, 5)), {})
        saver.wait()
        assert saved(scratch) == expected, now
    saver.save(at(6), {}, last=True)
    saver.wait()
    assert saved(scratch) == 6


def test_a_save_that_is_asked_for_while_another_is_written_is_left_out(
    scratch: Scratch, saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, write = threading.Event(), scratch.save

    def held(*what: Any) -> None:
        assert go.wait(60)
        write(*what)

    monkeypatch.setattr(scratch, "save", held)
    saver.save(at(1), {})
    saver.save(at(2), {})  # returns at once
    go.set()
    saver.wait()
    assert saved(scratch) == 1


def full(*what: Any) -> None:
    raise UserError("no room")


def saved_twice(scratch: Scratch) -> None:
    with scratch.saver(set()) as saver:
        saver.save(at(1), {})
        saver.save(at(2), {}, last=True)


def saved_once(scratch: Scratch) -> None:
    with scratch.saver(set()) as saver:
        saver.save(at(1), {})


def interrupted(scratch: Scratch) -> None:
    with scratch.saver(set()) as saver:
        saver.save(at(1), {})
        raise KeyboardInterrupt


@pytest.mark.parametrize("run", [saved_once, saved_twice])
def test_a_full_disk_is_told_at_the_next_save_or_the_end(scratch: Scratch, monkeypatch: Any, run: Any) -> None:
    monkeypatch.setattr(scratch, "save", full)
    with pytest.raises(UserError, match="no room"):
        run(scratch)


def test_an_interrupted_run_says_that_and_not_what_the_disk_says(scratch: Scratch, monkeypatch: Any) -> None:
    monkeypatch.setattr(scratch, "save", full)
    with pytest.raises(KeyboardInterrupt):
        interrupted(scratch)
