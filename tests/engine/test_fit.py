from pathlib import Path
from typing import Any

import pytest
import torch

from cure import catalogue
from cure.core.method import Networks
from cure.core.settings import Augment, Search
from cure.engine import scratch
from cure.engine.checkpoint import build
from cure.engine.fit import Task, Trajectory, train
from cure.engine.loader import Split
from cure.engine.scratch import Scratch
from cure.schema import Fit

SEARCH = Search(eps=0.1, step=0.05, steps=2, start="uniform", clip_start=True)


def split(seed: int, n: int) -> Split:
    draws = torch.Generator().manual_seed(seed)
    return Split(
        torch.randint(256, (n, 1, 8, 8), generator=draws).to(torch.uint8), torch.randint(3, (n,), generator=draws)
    )


def task(**changes: Any) -> Task:
    """TRADES for four epochs of three batches, from one seed."""
    torch.manual_seed(0)
    settings = {
        "epochs": 4,
        "batch": 8,
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "drops": {3: 0.1},
        "select": "best",
        "average": None,
        "validate_every": 1,
        "validate_attack": SEARCH,
        "snapshots": [],
    }
    entry = catalogue.entry("methods", "trades")
    return Task(
        nets=Networks(build("small", {"width": 4}, 1, 3), {}, {}),
        method=entry.METHOD,
        hyper=entry.Hyper(beta=6, attack=SEARCH.model_copy(update={"start": "gaussian"})),
        fit=Fit(**(settings | changes)),
        train=split(1, 20),
        val=split(2, 12),
        augment=Augment(crop=1, flip=True),
        seed=0,
        device=torch.device("cpu"),
    )


@pytest.fixture
def resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    monkeypatch.setattr(scratch, "FOLDER", tmp_path)
    return Scratch("update", "cell", {}, [])


def quiet(note: str) -> None:
    pass


def states(work: Task) -> dict[str, torch.Tensor]:
    return {key: t.clone() for key, t in work.nets.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


def test_history_has_one_line_per_epoch_with_the_rate_of_the_schedule(resume: Scratch) -> None:
    kept = train(task(), resume, quiet)
    assert [row["epoch"] for row in kept.history] == [1, 2, 3, 4]
    assert [round(row["lr"], 9) for row in kept.history] == [0.05, 0.05, 0.005, 0.005]
    assert all({"natural", "robust", "val_clean", "val_pgd"} <= set(row) for row in kept.history)


def test_best_is_the_first_epoch_of_the_highest_validation_pgd(resume: Scratch) -> None:
    kept = train(task(), resume, quiet)
    scores = [row["val_pgd"] for row in kept.history]
    assert kept.best_epoch == 1 + scores.index(max(scores))


def test_only_every_nth_epoch_and_the_last_are_validated(resume: Scratch) -> None:
    kept = train(task(validate_every=3), resume, quiet)
    assert [row["epoch"] for row in kept.history if "val_pgd" in row] == [3, 4]


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("epoch", [1, 3])
def test_interrupted_and_resumed_it_ends_in_the_same_bits(
    resume: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, average: float | None
) -> None:
    whole, cut, again = (task(average=average, snapshots=[0, 0.5]) for _ in range(3))
    expected = train(whole, Scratch("update", "another cell", {}, []), quiet)
    ticks = iter(range(1, 5))

    def stop(note: str) -> None:
        if next(ticks) == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut, resume, stop)
    seen: list[str] = []
    found: Trajectory = train(again, resume, seen.append)
    assert len(seen) == 4 - epoch
    assert found.history == expected.history
    assert same(found.best, expected.best)
    assert same(states(again), states(whole))
    assert list(found.snapshots) == list(expected.snapshots) == ["0/student", "0.5/student"]
    assert all(same(found.snapshots[key], expected.snapshots[key]) for key in found.snapshots)


def test_snapshots_are_the_networks_as_they_were(resume: Scratch) -> None:
    start, half = states(task()), task(epochs=2)
    train(half, Scratch("update", "another cell", {}, []), quiet)
    kept = train(task(snapshots=[0, 0.5]), resume, quiet)
    for name, expected in (("0/student", start), ("0.5/student", states(half))):
        assert same(kept.snapshots[name], {key.removeprefix("student."): t for key, t in expected.items()})


def test_snapshots_change_no_bit_of_the_training(resume: Scratch) -> None:
    with_them, without = task(snapshots=[0, 0.25, 0.75]), task()
    train(with_them, resume, quiet)
    train(without, Scratch("update", "another cell", {}, []), quiet)
    assert same(states(with_them), states(without))


def test_an_average_trails_the_student_and_carries_its_statistics(resume: Scratch) -> None:
    work = task(average=0.9)
    train(work, resume, quiet)
    student, average = work.nets["student"], work.nets["average"]
    assert not any(torch.equal(a, s) for a, s in zip(average.parameters(), student.parameters(), strict=True))
    assert all(torch.equal(a, s) for a, s in zip(average.buffers(), student.buffers(), strict=True))


def test_an_average_with_no_memory_is_the_student(resume: Scratch) -> None:
    work = task(average=0.0)
    train(work, resume, quiet)
    assert same(dict(work.nets["average"].state_dict()), dict(work.nets["student"].state_dict()))
