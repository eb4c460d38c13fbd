"""How often a run waits for the device, outside its steps too: a few times an epoch, however many images there are."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch

from cure.core.noise import PerImage
from cure.data.loader import Split
from cure.storage import resume
from cure.storage.resume import Scratch
from cure.training.loop import Task, train
from tests.support.pretend_cuda import Event, pretending
from tests.support.saving import every_epoch
from tests.support.training import split, task, with_run_settings

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "FOLDER", tmp_path)
    every_epoch(monkeypatch.setattr)


def on_device(images: Split) -> Split:
    return Split(images.images.to(CUDA), images.labels.to(CUDA))


def run(name: str, epochs: int, images: int, graphs: bool) -> tuple[Task, Counter[Event]]:
    """What a training with snapshots and an average does, and waits for."""
    with pretending() as device:
        work = task(epochs=epochs, average=0.9, snapshots=[0, 0.5])
        there = {"train": on_device(split(1, images)), "val": on_device(split(2, images)), "device": CUDA}
        work = dataclasses.replace(work, nets=work.nets.to(CUDA), **there)
        work = with_run_settings(work, graphs=graphs)
        with device.seen() as found:
            train(work, Scratch("update", name, {}, []), lambda note: None)
    return work, found


@pytest.mark.parametrize("graphs", [False, True])
def test_an_epoch_waits_as_often_whatever_it_holds(monkeypatch: pytest.MonkeyPatch, graphs: bool) -> None:
    monkeypatch.setattr("cure.training.loop.pgd_has_no_effect", lambda row, val: False)  # it looks twice at a suspect

    def per_epoch(images: int) -> Counter[str]:
        two, three = (run(f"{epochs} {images}", epochs, images, graphs)[1] for epochs in (4, 5))
        assert not {event for event in three if event.kind != "wait"}
        return Counter(event.line.split(":")[0] for event in (three - two).elements())

    # the means of the epoch; whether logits were finite, and what was right, in the validations of student and average
    assert per_epoch(24) == per_epoch(48) == {"cure/training/loop.py": 1, "cure/evaluation/measure.py": 4}


def test_noise_of_each_image_is_asked_of_the_host_and_brought_without_a_wait() -> None:
    with pretending() as device:
        x = torch.rand(6, 1, 8, 8).to(CUDA)
        with device.seen() as found:
            drawn = PerImage(0, torch.arange(6)).uniform(x, 0.1)
        assert drawn.is_cuda
    assert not found
