"""Corruptions of images in memory: what Python's `evaluate` and the command share."""

import pytest
import torch
from torch import nn

from cure.errors import UserError
from cure.evaluation.attack_columns import AttackProgress
from cure.evaluation.standalone.images import given
from cure.evaluation.standalone.measure import Evaluation, measure
from cure.evaluation.standalone.options import severities, threat
from cure.evaluation.standalone.plan import opened, plan, published
from cure.evaluation.standalone.subject import Subject


def measured(net: nn.Module, images, labels, on_progress=lambda _: None, *, corruptions="1,3") -> Evaluation:
    inputs = given(images, labels, 10, torch.device("cpu"))
    params = opened(published(), "", "")
    changes = {"threat": threat("l2", 0.25, dashes=""), "severities": severities(corruptions, "corruptions")}
    wanted = plan(params, ["clean"], 10, changes)
    return measure(Subject("net", net, []), inputs, wanted, [], on_progress=on_progress)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr("cure.storage.resume.FOLDER", tmp_path)


@pytest.fixture
def few(test_images):
    return test_images[0][:30], test_images[1][:30]


def test_images_in_memory_are_corrupted_as_they_are(trained, few):
    events = list[AttackProgress]()
    found = measured(trained, *few, events.append)
    assert found.corrupted is not None
    assert (found.corrupted.source, found.corrupted.images) == ("generated", 30)
    counts = [count for by in found.corrupted.correct.values() for count in by.values()]
    assert found.corrupted_accuracy == pytest.approx(sum(counts) / (30 * len(counts)))
    assert found.corrupted_accuracy < found.accuracy("clean")
    low, high = found.corrupted_interval
    assert low < found.corrupted_accuracy < high
    told = [event for event in events if event.column == "corruptions"]
    assert sum(event.images - event.broken for event in told) == sum(counts)
    assert found.subject.notes == []


def test_images_between_the_levels_of_8_bits_are_rounded_and_that_is_noted(trained, few):
    found = measured(trained, (few[0] / 255 + 0.3 / 255).clamp(0, 1), few[1])
    assert found.subject.notes == ["corrupted images are made of the images rounded to 8 bits"]
    assert found.corrupted.correct == measured(trained, *few).corrupted.correct


def test_a_network_that_draws_at_random_repeats_its_numbers(trained, few):
    class Noisy(nn.Module):
        def forward(self, x):
            return trained(x) + 3 * torch.randn(len(x), 10)

    first, state = measured(Noisy(), *few).corrupted.correct, torch.get_rng_state()
    torch.rand(3)
    assert measured(Noisy(), *few).corrupted.correct == first
    torch.set_rng_state(state)


def test_without_severities_nothing_is_corrupted(trained, few):
    found = measured(trained, *few, corruptions=None)
    assert (found.corrupted, found.corrupted_accuracy, found.corrupted_interval) == (None, None, None)


@pytest.mark.reliability("wrong inputs")
def test_where_no_corruption_can_be_made_that_is_said(trained, few, monkeypatch):
    monkeypatch.setattr("cure.evaluation.corrupted.lacking", lambda _: "no module x")
    with pytest.raises(UserError, match=r"^corruptions: none can be made here \(no module x\)"):
        measured(trained, *few)
