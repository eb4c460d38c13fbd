"""Rows that the papers print and the root grid does not name: an edit of it away, with their published settings."""

import copy

import pytest
from ruamel.yaml import YAML

from cure import catalogue
from cure.settings.check import check
from cure.settings.params import Params, read, update_key
from tests.support.project import ROOT

PAPER = read(ROOT / "params.yaml")
TABLES = YAML(typ="safe", pure=True).load((ROOT / "claims.yaml").read_text())["tables"]
PRINTED = {(group["dataset"], group["model"]) for table in TABLES for group in table["groups"]}
MEAN = "mean"  # over networks, none of its own


def test_every_printed_data_set_and_model_has_its_sections() -> None:
    assert {dataset for dataset, _ in PRINTED} <= set(PAPER["datasets"])
    assert {model for _, model in PRINTED} - {MEAN} <= set(PAPER["models"])


def test_the_grid_may_name_every_data_set_and_model() -> None:
    wide = copy.deepcopy(PAPER)
    models = list(PAPER["models"])
    wide["grid"] |= {"datasets": list(PAPER["datasets"]), "models": models, "pretrain": models}
    wide["grid"]["layers"]["models"] = models[:3]
    assert check(wide) == []


def test_one_line_of_the_grid_adds_a_data_set() -> None:
    assert check(PAPER | {"grid": PAPER["grid"] | {"datasets": ["cifar10", "cifar100"]}}) == []


def method(name: str, dataset: str, model: str, protocol: str = "paper"):
    entry = catalogue.entry("methods", name).METHOD
    key = update_key(name, entry)
    raw = PAPER | {"train": PAPER["train"] | {"protocol": protocol}}
    return Params(raw, [key, "train", "threat", "alpha"], dataset, model).method(key, entry.hyper)


@pytest.mark.parametrize(
    ("dataset", "model", "alpha", "p"),
    [
        ("cifar10", "resnet18", 0.1, 30),  # CURE's Table 9
        ("cifar100", "resnet18", 0.1, 30),
        ("svhn", "resnet18", 0.2, 30),
        ("cifar100", "wrn_34_10", 0.3, 50),
        ("cifar10", "preact_resnet18", 0.2, 20),
        ("cifar10", "resnet50", 0.1, 30),  # as ResNet-18, Table 6
        ("cifar10", "resnet101", 0.1, 30),
    ],
)
def test_cures_settings_are_those_of_its_table(dataset: str, model: str, alpha: float, p: float) -> None:
    hyper, _ = method("cure", dataset, model)
    assert (hyper.alpha, hyper.p) == (alpha, p)
    assert method("cure_eff", dataset, model)[0].alpha == alpha


@pytest.mark.parametrize("name", ["st_at", "part"])
def test_on_svhn_the_released_step_is_half_as_long(name: str) -> None:
    steps = {d: method(name, d, "resnet18")[0].attack.step for d in ("svhn", "cifar10", "tiny_imagenet")}
    assert steps == {"svhn": 1 / 255, "cifar10": 2 / 255, "tiny_imagenet": 2 / 255}
    assert method(name, "svhn", "resnet18", "matched")[0].attack.step == 2 / 255


def test_released_schedules_that_depend_on_the_data_set() -> None:
    assert [method("st_at", d, "resnet18")[1].lr for d in ("svhn", "cifar100")] == [0.01, 0.1]
    assert [method("part", d, "resnet18")[1].weight_decay for d in ("svhn", "cifar10")] == [3.5e-3, 2e-4]
    las = method("las_at", "cifar100", "resnet18")[0]
    assert (las.steps, las.label) == (list(range(3, 13)), 0.6)


@pytest.mark.parametrize(("model", "taps"), [("resnet34", 6), ("resnet50", 9), ("resnet101", 9)])
def test_ar_at_taps_every_batch_norm_of_the_last_stage(model: str, taps: int) -> None:
    entry = catalogue.entry("models", model)
    net = entry.MODEL(entry.Hyper(), 3, 10)
    last = [name for name, _ in net.named_modules() if name.startswith("layer4") and ".bn" in name]
    assert method("arat", "cifar10", model)[0].taps == last
    assert len(last) == taps
