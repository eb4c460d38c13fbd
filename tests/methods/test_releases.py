"""What a release does otherwise than its paper or than ours, where that is a setting."""

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import BatchNorm2d

from cure import catalogue
from cure.core.method import Batch, TrainingPosition
from cure.core.names import RELEASED_LAST
from cure.core.noise import Stream
from cure.data.prepared import Data
from cure.methods.parts.cam import colour_coded, grad_cam, jet
from cure.settings.params import Params, read
from cure.storage.checkpoint import build
from cure.storage.paths import Run
from cure.training.job import Job
from tests.support.method_harness import QUICKSTART, MethodHarness, parameters, same, shipped, state
from tests.support.settings import SCALES, changed

PART, ACT, VFD = (catalogue.entry("methods", name) for name in ("part", "act", "vfd"))


def images(n: int = 6, channels: int = 3, seed: int = 0, **position: Any) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    x = torch.rand(n, channels, 8, 8, generator=draws)
    return Batch(x, torch.arange(n) % 10, torch.arange(n), Stream(0, torch.device("cpu")), TrainingPosition(**position))


def painted(cam: np.ndarray, size: int) -> np.ndarray:
    """The released mask of one map: Pillow's resizing, matplotlib's colours, standardised over pixels and colours."""
    wide = np.asarray(Image.fromarray(cam.astype(np.float32), mode="F").resize((size, size), Image.BICUBIC)) ** 2
    colours = matplotlib.colormaps["jet"](wide)[:, :, :3]
    return ((colours - colours.mean()) / colours.std() > 1).transpose(2, 0, 1)


def test_the_colours_are_matplotlibs() -> None:
    values = torch.linspace(-0.1, 1.1, 997, dtype=torch.float64)
    wanted = matplotlib.colormaps["jet"](values.numpy())[:, :3]
    np.testing.assert_allclose(jet(values.view(1, 1, 1, -1))[0, :, 0].T.numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("side", [2, 4, 8])
def test_released_masks_are_those_of_pillow_and_matplotlib(side: int) -> None:
    cam = torch.rand(20, 1, side, side, generator=torch.Generator().manual_seed(1))
    _, found = colour_coded(cam, torch.zeros(20, 3, 32, 32))
    wanted = np.stack([painted(one[0].numpy(), 32) for one in cam])
    assert (found.numpy() == wanted).mean() > 0.999  # a rounding may choose the next of 256 colours
    assert 0.05 < found.float().mean() < 0.5


def test_a_grey_images_released_mask_judges_the_map_itself() -> None:
    cam = torch.rand(5, 1, 4, 4)
    wide, found = colour_coded(cam, torch.zeros(5, 1, 8, 8))
    high = [one > one.mean() + one.std(correction=0) for one in wide]
    assert torch.equal(found, torch.stack(high))


def part(masks: str, begin: int = 2) -> MethodHarness:
    torch.manual_seed(0)
    student = build("small", {"width": 4}, 3, 10)
    hyper = shipped("part").model_copy(update={"masks": masks, "begin": begin, "eps_low": 0.02})
    return MethodHarness(PART.METHOD, hyper, student)


def test_own_masks_need_no_pass_of_their_own_and_released_ones_not_before_they_begin() -> None:
    for rig, epoch in ((part("own"), 2), (part("released"), 1)):
        assert PART.before_epoch(rig.nets, epoch, iter([images()]), rig.take.hyper) == {}


def test_a_released_mask_is_another_images_by_the_number_of_the_batch() -> None:
    rig = part("released")
    others = [images(seed=5), images(n=4, seed=6)]
    before = state(rig.nets)
    found = PART.before_epoch(rig.nets, 2, iter(others), rig.take.hyper)
    assert same(state(rig.nets), before)
    for number, other in enumerate(others):
        step = 2 + number  # the second epoch of two batches
        batch = images(n=len(other.y), seed=7, epoch=2, step=step, steps_per_epoch=2, found=found)
        rig.nets.student.eval()
        mask = colour_coded(grad_cam(rig.nets.student, other.x), other.x)[1]
        points = PART.attack(rig.nets, batch, rig.take.hyper)
        moved = (points["adv"] - batch.x).abs()
        assert moved[~mask].max() <= 0.02 + 1e-6
        assert moved[mask].max() > 0.02 + 1e-6
        torch.testing.assert_close(points["important"], mask.float().mean(dim=(1, 2, 3)))


def peers(shared_start: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(0)
    hyper = shipped("act").model_copy(update={"shared_start": shared_start})
    rig = MethodHarness(ACT.METHOD, hyper, build("small", {"width": 4}, 1, 10))
    begun = state(rig.nets.student), state(rig.nets.natural_peer)
    rig.step(images(channels=1))
    now = state(rig.nets.student), state(rig.nets.natural_peer)
    assert not same(*now)
    return begun


def test_acts_networks_start_apart_unless_they_share_their_weights() -> None:
    assert same(*peers(True))
    assert not same(*peers(False))


@pytest.mark.parametrize("layer", ["pooled", "logits"])
def test_vfds_features_are_those_of_the_layer_that_is_named(layer: str) -> None:
    torch.manual_seed(0)
    hyper = shipped("vfd").model_copy(update={"layer": layer})
    rig = MethodHarness(VFD.METHOD, hyper, build("small", {"width": 4}, 1, 10))
    batch = images(channels=1)
    batch.points = VFD.METHOD.attack(rig.nets, batch, hyper)
    terms = VFD.loss(rig.nets, batch, hyper)
    student, natural = rig.nets.student, rig.nets.natural
    for term, x in (("feature_clean", batch.x), ("feature_adv", batch.x_adv)):
        difference = student.features(x, [layer])[layer] - natural.features(batch.x, [layer])[layer]
        torch.testing.assert_close(terms[term][1], difference.square().mean(dim=1))


@pytest.mark.parametrize("start", ["random", "natural"])
def test_vfds_student_starts_where_it_is_told(monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    torch.manual_seed(1)
    natural = build("small", {"width": 16}, 1, 10)
    monkeypatch.setattr(Job, "parent", lambda job, role, source: natural)
    keys = ["run", "threat", "train", "models.small", "methods.vfd"]
    params = Params(read(QUICKSTART), keys, "digits", "small")
    hyper, train = params.method("methods.vfd", VFD.Hyper)
    run = Run("digits", "small", "vfd", 0)
    job = Job("update", run, params, VFD.METHOD, hyper.model_copy(update={"start": start}), train)
    nets = job.assemble(Data(Path("data"), "", {"channels": 1, "classes": list("0123456789")}, {}))
    assert same(state(nets.student), state(natural)) == (start == "natural")
    assert nets.student is not natural


def test_a_start_is_always_among_the_parents_that_the_stage_depends_on() -> None:
    for name in catalogue.names("methods"):
        method = catalogue.entry("methods", name).METHOD
        if method.start is not None:
            changed = [method.start(hyper) for hyper in variants(name)]
            assert set(changed) - {None} <= set(method.roles)


def variants(name: str) -> list[Any]:
    """The shipped settings, and with every choice of `start`."""
    hyper = shipped(name)
    choices = type(hyper).model_fields["start"].annotation.__args__
    return [hyper.model_copy(update={"start": choice}) for choice in choices]


def test_the_released_attack_on_the_copy_takes_the_worst_of_its_starts() -> None:
    las = catalogue.entry("methods", "las_at")
    torch.manual_seed(0)
    hyper = shipped("las_at").model_copy(update={"every": 1, "strategy_lr": 0.0})
    found = {}
    for restarts in (1, 8):
        rig = MethodHarness(las.METHOD, hyper, build("small", {"width": 4}, 1, 10))
        rig.nets.student.load_state_dict(found.setdefault("weights", state(rig.nets.student)))
        batch = images(n=32, channels=1, lr=0.1)
        rig.step(batch)
        how = hyper.model_copy(update={"restarts": restarts, "until_wrong": True, "c2": 1.0, "c3": 0.0, "most": 1e-9})
        fresh = dataclasses.replace(batch, noise=Stream(3, torch.device("cpu")))
        found[restarts] = float(las.reward(rig.nets, fresh, how, batch.points["actions"]))
    assert found[8] <= found[1]


AGAIN = {
    "fat": {"base": "trades", "weight": 6.0},
    "part": {"base": "trades", "weight": 6.0},
    "las_at": {"loss": "trades"},
}


@pytest.mark.parametrize("name", AGAIN)
def test_trades_second_clean_forward_moves_running_statistics_and_nothing_else(name: str) -> None:
    rigs = []
    for again in (False, True):
        torch.manual_seed(0)
        hyper = shipped(name).model_copy(update=AGAIN[name] | {"forward_again": again})
        rigs.append(MethodHarness(catalogue.entry("methods", name).METHOD, hyper, build("small", {"width": 4}, 1, 10)))
        rigs[-1].step(images(channels=1))
    once, twice = (rig.nets.student for rig in rigs)
    assert same(parameters(once), parameters(twice))
    norms = [
        (one, two) for one, two in zip(once.modules(), twice.modules(), strict=True) if isinstance(one, BatchNorm2d)
    ]
    assert [int(two.num_batches_tracked - one.num_batches_tracked) for one, two in norms] == [1, 1, 1]
    assert not any(torch.equal(one.running_mean, two.running_mean) for one, two in norms)


@pytest.mark.parametrize("name", ["awp", "fat", "part", "las_at"])
def test_another_loss_than_trades_has_no_second_clean_forward(name: str) -> None:
    hyper = shipped(name)
    with pytest.raises(ValueError, match=r"forward_again is true, but .* is at; only TRADES forwards x twice"):
        type(hyper).model_validate(hyper.model_dump() | {"forward_again": True})


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("protocol", "network"), [("paper", "last"), ("matched", "best")])
def test_ar_at_exports_its_last_epoch_unless_every_row_exports_its_best(
    scale: str, protocol: str, network: str
) -> None:
    key, kind = "methods.arat.revise", catalogue.entry("methods", "arat").METHOD.revise
    raw = changed(SCALES[scale], "train.protocol", protocol)
    hyper, train = Params(raw, [key, "train", "threat"], "cifar10", "resnet18").method(key, kind)
    assert (hyper.network, train.select) == (network, "best")


def test_every_method_whose_release_evaluates_the_last_epoch_is_in_the_catalogue() -> None:
    assert set(RELEASED_LAST) <= set(catalogue.names("methods"))
