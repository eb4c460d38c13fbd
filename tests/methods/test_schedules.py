"""The published schedules, as the root's params.yaml gives them to each method and preset."""

from typing import Any

import pytest

from cure import catalogue
from cure.settings.params import Params, read, update_key
from cure.settings.sections import Train
from cure.training.schedule import rate
from tests.support.method_harness import ROOT

RATES = {  # method -> (epochs, weight decay, {1-based epoch: rate}), on ResNet-18
    "at": (200, 5e-4, {1: 0.1, 100: 0.1, 101: 0.01, 150: 0.01, 151: 0.001, 200: 0.001}),
    "trades": (76, 2e-4, {1: 0.1, 74: 0.1, 75: 0.01, 76: 0.01}),
    "mart": (120, 3.5e-3, {1: 0.01, 74: 0.01, 75: 1e-3, 89: 1e-3, 90: 1e-4, 99: 1e-4, 100: 1e-5, 120: 1e-5}),
    "fat": (120, 2e-4, {1: 0.1, 59: 0.1, 60: 0.01, 89: 0.01, 90: 0.001, 109: 0.001, 110: 5e-4, 120: 5e-4}),
    "st_at": (120, 5e-4, {1: 0.1, 79: 0.1, 80: 0.01, 99: 0.01, 100: 0.001, 120: 0.001}),
    "act": (200, 5e-4, {1: 0.1, 59: 0.1, 60: 0.02, 119: 0.02, 120: 0.004, 159: 0.004, 160: 8e-4, 200: 8e-4}),
    "ard": (200, 2e-4, {1: 0.1, 100: 0.1, 101: 0.01, 150: 0.01, 151: 0.01, 200: 0.01}),
    "iad": (200, 2e-4, {1: 0.1, 100: 0.1, 101: 0.01, 150: 0.01, 151: 0.01, 200: 0.01}),
    "las_at": (110, 5e-4, {1: 0.1, 99: 0.1, 100: 0.01, 104: 0.01, 105: 0.001, 110: 0.001}),
    "part": (80, 2e-4, {1: 0.01, 79: 0.01, 80: 0.001}),
    "arat": (100, 5e-4, {1: 0.02, 2: 0.1, 76: 0.1, 77: 0.01, 91: 0.01, 92: 0.001, 100: 0.001}),
    "cure": (200, 7e-4, {1: 0.1, 99: 0.1, 100: 0.01, 149: 0.01, 150: 0.001, 200: 0.001}),
}
WIDE = {"mart": (90, 7e-4, {1: 0.1, 74: 0.1, 75: 0.01, 89: 0.01, 90: 0.001})}  # where WideResNet-34-10 differs
PATIENCE = {  # preset of FAT -> {1-based epoch: tau}
    "at": {1: 0, 50: 0, 51: 1, 90: 1, 91: 2, 120: 2},
    "trades": {1: 0, 30: 0, 31: 1, 50: 1, 51: 2, 70: 2, 71: 3, 85: 3},
    "mart": {1: 0, 20: 0, 21: 1, 40: 1, 41: 2, 60: 2, 61: 3, 80: 3, 81: 4, 90: 4},
}


def released() -> list[float]:
    """The rates of ARD's and IAD's release: a tenth of a rate that stays what it was, at the 0-based 100 and 150."""
    outer, used, rates = 0.1, 0.1, []
    for epoch in range(200):
        if epoch in (100, 150):
            used = outer * 0.1
        rates.append(used)
    return rates


def steps(*parts: tuple[int, float]) -> list[float]:
    """(last 1-based epoch, rate) -> the rate of each epoch."""
    return [next(rate for last, rate in parts if epoch <= last) for epoch in range(1, parts[-1][0] + 1)]


PRESETS = {  # (method, preset) -> (weight decay, begin or None, the rate of every epoch)
    ("at", "rift"): (5e-4, None, steps((99, 0.1), (104, 0.01), (110, 0.001))),
    ("arat", "released"): (5e-4, None, steps((1, 0.02), (76, 0.1), (91, 0.01), (100, 0.001))),
    ("ard", "ard"): (2e-4, None, released()),
    ("ard", "ard_t1"): (2e-4, None, released()),
    ("iad", "iad_1"): (2e-4, 61, released()),
    ("iad", "iad_2"): (2e-4, 41, released()),
    ("awp", "at"): (5e-4, 1, steps((100, 0.1), (150, 0.01), (200, 0.001))),
    ("awp", "at_rice"): (5e-4, 1, steps((100, 0.1), (150, 0.01), (200, 0.001))),
    ("awp", "trades"): (5e-4, 10, steps((99, 0.1), (149, 0.01), (200, 0.001))),
    ("cure", "readme"): (5e-4, None, steps((99, 0.1), (120, 0.01))),
}


def settings(name: str, model: str, **replaced: Any) -> tuple[Any, Train]:
    raw = read(ROOT / "params.yaml")
    method = catalogue.entry("methods", name).METHOD
    section, key = raw["methods"][name], update_key(name, method)
    (section["update"] if key.endswith(".update") else section).update(replaced)
    return Params(raw, [*method.hyper.top_level, "train", "threat", key], "cifar10", model).method(key, method.hyper)


@pytest.mark.parametrize("model", ["resnet18", "wrn_34_10"])
@pytest.mark.parametrize("name", RATES)
def test_the_rate_at_every_boundary(name: str, model: str) -> None:
    epochs, weight_decay, rates = (WIDE if model == "wrn_34_10" and name in WIDE else RATES)[name]
    _, train = settings(name, model)
    assert (train.epochs, train.weight_decay, train.batch) == (epochs, weight_decay, 128)
    assert {epoch: rate(train, epoch) for epoch in rates} == pytest.approx(rates)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_the_rate_of_every_epoch_of_a_released_preset(name: str, preset: str) -> None:
    weight_decay, begin, rates = PRESETS[name, preset]
    hyper, train = settings(name, "resnet18", preset=preset)
    assert (train.weight_decay, getattr(hyper, "begin", None)) == (weight_decay, begin)
    assert [rate(train, epoch) for epoch in range(1, train.epochs + 1)] == pytest.approx(rates)


def test_the_schedule_that_ards_release_names_is_one_override_away() -> None:
    own = read(ROOT / "params.yaml")["methods"]["ard"]["train"]
    _, train = settings("ard", "resnet18", train=own | {"drops": {**own["drops"], "151": 0.01}})
    rates = steps((100, 0.1), (150, 0.01), (200, 0.001))
    assert [rate(train, epoch) for epoch in range(1, train.epochs + 1)] == pytest.approx(rates)


def test_cures_readme_masks_nothing_and_weighs_the_released_objective() -> None:
    hyper, _ = settings("cure", "resnet18", preset="readme")
    assert (hyper.include, hyper.objective, hyper.beta, hyper.gamma, hyper.r, hyper.d) == (
        [],
        "trades",
        5,
        1,
        0.2,
        0.999,
    )
    assert (hyper.attack.eps, hyper.attack.step, hyper.attack.steps, hyper.attack.start) == (
        0.031,
        0.007,
        10,
        "gaussian",
    )


@pytest.mark.parametrize("preset", PATIENCE)
def test_the_patience_of_fat_at_every_boundary(preset: str) -> None:
    fat = catalogue.entry("methods", "fat")
    hyper, train = settings("fat", "resnet18", preset=preset)
    assert {epoch: fat.patience(hyper, epoch) for epoch in PATIENCE[preset]} == PATIENCE[preset]
    assert train.epochs == max(PATIENCE[preset])
