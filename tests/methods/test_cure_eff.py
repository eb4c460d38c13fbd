"""CURE_Eff: natural first, then CURE to the letter, on a clock of its own."""

import copy
import dataclasses
from typing import Any

import pytest
import torch

from cure import catalogue
from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from tests.support.method_harness import MethodHarness, assert_close, parameters, same, shipped, state

EFF, CURE, NATURAL = (catalogue.entry("methods", name).METHOD for name in ("cure_eff", "cure", "natural"))
PER_EPOCH, BEGIN = 3, 3


def hyper(**changes: Any) -> Any:
    return shipped("cure_eff").model_copy(update={"begin": BEGIN} | changes)


def at(batch: Batch, step: int) -> Batch:
    """The same images as step number `step` of a training with 3 steps an epoch."""
    noise = Stream(step, torch.device("cpu"))
    position = TrainingPosition(epoch=step // PER_EPOCH + 1, step=step, steps_per_epoch=PER_EPOCH)
    return dataclasses.replace(batch, position=position, points={}, noise=noise)


def trained(net: torch.nn.Module, batch: Batch, steps: range, **changes: Any) -> MethodHarness:
    rig = MethodHarness(EFF, hyper(**changes), net)
    for step in steps:
        rig.step(at(batch, step))
    return rig


SWITCH = (BEGIN - 1) * PER_EPOCH


def test_before_it_begins_it_is_natural_training(make_net, batch) -> None:
    rig = trained(make_net(0), batch, range(SWITCH))
    plain = MethodHarness(NATURAL, shipped("natural"), make_net(0))
    for step in range(SWITCH):
        plain.step(at(batch, step))
    assert_close(state(rig.nets.student), state(plain.nets.student))


def test_the_natural_epochs_leave_the_revision_network_alone(make_net, batch) -> None:
    rig = trained(make_net(0), batch, range(SWITCH))
    assert same(state(rig.nets.revision), state(make_net(0)))


def test_it_begins_with_the_student_as_its_own_past(make_net, batch) -> None:
    rig = trained(make_net(0), batch, range(SWITCH))
    before = parameters(rig.nets.student)
    rig.take.hyper = hyper(r=0.0)
    rig.step(at(batch, SWITCH))
    assert same(parameters(rig.nets.revision), before)


def test_from_there_on_it_is_cure_started_from_the_natural_weights(make_net, batch) -> None:
    rig = trained(make_net(0), batch, range(SWITCH))
    settings = {key: value for key, value in hyper().model_dump().items() if key != "begin"}
    cure = MethodHarness(CURE, catalogue.entry("methods", "cure").Hyper.model_validate(settings), make_net(0))
    cure.nets.student.load_state_dict(rig.nets.student.state_dict())
    cure.nets.revision.load_state_dict(rig.nets.student.state_dict())
    cure.optimizer.load_state_dict(copy.deepcopy(rig.optimizer.state_dict()))
    for step in range(4):
        rig.step(at(batch, SWITCH + step))
        cure.step(dataclasses.replace(at(batch, SWITCH + step), position=at(batch, step).position))
    assert_close(state(rig.nets), state(cure.nets))


def test_beginning_at_once_is_cure_from_random_weights(make_net, batch) -> None:
    rig = trained(make_net(0), batch, range(2), begin=1)
    assert "revision_clean" in rig.seen["means"]


@pytest.mark.parametrize(("step", "terms"), [(SWITCH - 1, {"natural"}), (SWITCH, {"natural", "divergence"})])
def test_the_curve_has_the_terms_of_its_phase(make_net, batch, step: int, terms: set[str]) -> None:
    rig = trained(make_net(0), batch, range(step, step + 1))
    assert terms <= set(rig.seen["means"])
    assert ("divergence" in rig.seen["means"]) == ("divergence" in terms)


def test_its_alpha_is_its_own() -> None:
    assert "alpha" not in EFF.hyper.top_level
    assert CURE.hyper.top_level == ("alpha",)
