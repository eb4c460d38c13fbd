"""Steps of a training, taken again from its snapshots: the method's own, on weights that do not move."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from cure import catalogue
from cure.core.method import Batch, Method, TrainingPosition
from cure.core.noise import Stream, seed_for
from cure.storage.checkpoint import Description, State, build
from cure.training.replay import Course, history
from tests.support.method_harness import MethodHarness, same, shipped

METHODS = ["natural", "at", "arat", "act", "cure", "las_at", "generalist", "ikl_at"]
every_method = pytest.mark.parametrize("name", METHODS)


def rig_of(name: str) -> MethodHarness:
    torch.manual_seed(0)
    return MethodHarness(catalogue.entry("methods", name).METHOD, shipped(name), build("small", {"width": 4}, 1, 10))


def batch(epoch: int, number: int = 0, past: dict[str, float] | None = None) -> Batch:
    x, y = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(number)), torch.arange(8)
    noise = Stream(seed_for(3, number, "replay"), torch.device("cpu"))
    return Batch(x, y, torch.arange(8), noise, TrainingPosition(epoch + 1, epoch, past_means=past or {}, epochs=40))


def kept(rig: MethodHarness, prefix: str) -> dict[str, State]:
    return {f"{prefix}/{name}": {k: t.clone() for k, t in net.state_dict().items()} for name, net in rig.nets.items()}


def course(name: str, states: dict[str, State], **changes: Any) -> Course:
    about = Description(
        kind="trajectory",
        model="small",
        settings={"width": 4},
        channels=1,
        classes=[str(i) for i in range(10)],
        dataset="digits",
        data_digest="",
        method=name,
        seed=0,
        params={},
        epoch=40,
        best_epoch=40,
        validation={},
    )
    method: Method = catalogue.entry("methods", name).METHOD
    batches = [(batch(0, number).x, batch(0).y, batch(0).index) for number in (0, 1)]
    given = {"method": method, "hyper": shipped(name), "about": about, "states": states, "history": [{}] * 40}
    return Course(**{**given, "batches": batches, "seed": 3, **changes})


def trained(name: str) -> tuple[dict[str, State], MethodHarness]:
    """A start, a later moment and an end, and the networks at the start."""
    rig = rig_of(name)
    states, start = kept(rig, "0"), copy.deepcopy(rig)
    for number in (5, 6):
        rig.step(batch(40, number))
    states |= kept(rig, "0.5")
    rig.step(batch(40, 7))
    end = {name.partition("/")[2]: state for name, state in kept(rig, "1").items()}
    evaluated = rig.take.method.evaluated
    return states | {"last": end.pop(evaluated), "best": states[f"0/{evaluated}"], **end}, start


@every_method
def test_a_replay_has_the_gradients_of_the_step_itself(name: str) -> None:
    states, start = trained(name)
    phases = course(name, states).phases()
    assert [phase.share for phase in phases] == [0.0, 0.5, 1.0]
    replay = next(iter(phases[0].replays()))
    start.step(batch(0))
    own = dict(start.nets.student.named_parameters())
    assert same(replay.gradients, {key: w.grad for key, w in own.items() if w.grad is not None})
    assert set(replay.shown) == set(start.seen)


@every_method
def test_every_phase_has_its_own_networks(name: str) -> None:
    states, _ = trained(name)
    end = "student" if "student" in states else "last"  # a method may be judged by another network
    for phase, key in zip(course(name, states).phases(), ("0/student", "0.5/student", end), strict=True):
        assert all(torch.equal(weight, states[key][name]) for name, weight in phase.weights.items())


@every_method
def test_replays_repeat_and_move_nothing(name: str) -> None:
    states, _ = trained(name)
    (_, phase, _) = course(name, states).phases()
    before = {key: weight.detach().clone() for key, weight in phase.weights.items()}
    first, again = (list(phase.replays()) for _ in range(2))
    assert len(first) == 2
    assert all(same(a.gradients, b.gradients) for a, b in zip(first, again, strict=True))
    assert not same(first[0].gradients, first[1].gradients)
    assert same(before, {key: weight.detach() for key, weight in phase.weights.items()})


def test_the_masks_of_a_phase_are_those_of_the_step() -> None:
    states, start = trained("cure")
    replay = next(iter(course("cure", states).phases()[0].replays()))
    start.step(batch(0))
    assert same(replay.shown["rgp"]["mask"], start.seen["rgp"]["mask"])


def test_a_phase_knows_what_the_epoch_before_it_measured() -> None:
    # AR-AT weighs its losses by it
    states, start = trained("arat")
    lines = [{"epoch": float(epoch), "clean_accuracy": epoch / 40} for epoch in range(1, 41)]
    _, half, _ = course("arat", states, history=lines).phases()
    replay = next(iter(half.replays()))
    for key, net in start.nets.items():
        net.load_state_dict(states[f"0.5/{key}"])
    start.step(batch(20, past={"clean_accuracy": 0.5}))
    grads = {key: w.grad for key, w in start.nets.student.named_parameters() if w.grad is not None}
    assert same(replay.gradients, grads)


def test_a_curve_is_read_without_its_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("epoch,val_pgd\n1,\n2,0.5\n")
    assert history(tmp_path / "curve.csv") == [{"epoch": 1.0}, {"epoch": 2.0, "val_pgd": 0.5}]
