"""CURE without its mask, and without its revision: what a step of each preset computes, and what it no longer costs."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cure import catalogue
from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from cure.settings.params import Params
from cure.storage.checkpoint import build
from tests.support.method_harness import MethodHarness, assert_close, differentiate, same, state
from tests.support.project import ROOT
from tests.support.settings import changed, parsed
from tools.passes import Passes

cure = catalogue.entry("methods", "cure")
IMAGES = 8
FILES = ["params.yaml", "quickstart/params.yaml", "pilot/params.yaml"]


def settings(preset: str, file: str = "quickstart/params.yaml") -> Any:
    key = "methods.cure.update"
    raw = changed(parsed(ROOT / file), f"{key}.preset", preset)
    return Params(raw, [key, "train", "threat", "alpha"], "cifar10", "resnet18").method(key, cure.Hyper)[0]


def rig(preset: str) -> MethodHarness:
    """From a natural network; the revision network is another one, so that it has something to pull to."""
    torch.manual_seed(0)
    made = MethodHarness(cure.METHOD, settings(preset), build("small", {"width": 4}, 1, 10))
    made.nets["revision"].load_state_dict(build("small", {"width": 4}, 1, 10).state_dict())
    return made


def digits() -> Batch:
    draws = torch.Generator().manual_seed(1)
    x, y = torch.rand(IMAGES, 1, 8, 8, generator=draws), torch.arange(IMAGES) % 10
    return Batch(x, y, torch.arange(IMAGES), Stream(0, torch.device("cpu")), TrainingPosition())


def divergence(p: Tensor, q: Tensor) -> Tensor:
    return F.kl_div(q.log_softmax(1), p.softmax(1), reduction="batchmean")


@pytest.mark.parametrize("preset", ["no_mask", "no_revision"])
def test_the_gradient_is_that_of_what_is_left(preset: str) -> None:
    made, batch = rig(preset), digits()
    nets = copy.deepcopy(made.nets)
    made.step(batch)
    net, past = nets.student, nets.revision
    clean, adv = net(batch.x), net(batch.x_adv)
    value = F.cross_entropy(clean, batch.y) + 5 * divergence(clean, adv)
    if preset == "no_mask":
        value = value + divergence(past(batch.x).detach(), clean) + divergence(past(batch.x_adv).detach(), adv)
    wanted, found = differentiate(value, net), made.gradients()
    assert ("rgp" in made.seen) == (preset != "no_mask")
    if preset == "no_revision":
        keep = made.seen["rgp"]["mask"]
        wanted |= {name: wanted[name] * mask for name, mask in keep.items()}
        assert not all(mask.all() for mask in keep.values())
    assert_close(found, {name: wanted[name] for name in found})


@pytest.mark.parametrize(("preset", "passes"), [("paper", 33), ("no_mask", 29), ("no_revision", 31)])
def test_what_is_left_out_costs_nothing(preset: str, passes: int) -> None:
    made = rig(preset)
    with Passes((8, 4, 3, 3)) as count:  # the middle convolution of `small` at width 4
        made.step(digits())
    assert count.per_image(IMAGES) == passes


def test_without_revision_its_network_stays_as_it_is_in_every_bit() -> None:
    made = rig("no_revision")
    before = state(made.nets.revision)
    for _ in range(3):
        means = made.step(digits())
    assert same(state(made.nets.revision), before)
    assert "revision_clean" not in means


def test_a_network_that_is_revised_without_pulling_still_sees_the_images() -> None:
    made = rig("paper")
    made.take.hyper = made.take.hyper.model_copy(update={"gamma": 0.0, "r": 1.0})
    made.step(digits())
    assert int(made.nets.revision.get_submodule("stem.bn1").num_batches_tracked) == 2


@pytest.mark.parametrize("file", FILES)
def test_every_file_has_both_ablations_and_they_change_nothing_else(file: str) -> None:
    whole = settings("paper", file)
    assert settings("no_mask", file) == whole.model_copy(update={"include": []})
    assert settings("no_revision", file) == whole.model_copy(update={"gamma": 0.0, "r": 0.0})
