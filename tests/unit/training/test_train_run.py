"""The networks that a training run leaves, by name."""

import itertools

import pytest
import torch
from ruamel.yaml import YAML

from cure.storage import resume as resume_files
from cure.storage.checkpoint import load
from cure.storage.paths import Run
from cure.training import loop
from tests.support.settings import changed
from tests.support.stages import RUN, call, tiny

RUNS = {method: Run(*RUN, method, 0) for method in ("at", "at_ema", "generalist")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three epochs of each, of which validation finds the first to be the best."""
    place, raw = tmp_path_factory.mktemp("runs"), changed(tiny(), "train.epochs", 3)
    raw = changed(changed(raw, "train.average_images", 256), "methods.at_ema.attack.steps", 1)
    YAML(typ="safe", pure=True).dump(raw, place / "params.yaml")
    falling = ({"clean": 1 / n, "pgd": 1 / n} for n in itertools.count(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume_files, "FOLDER", place / "scratch")
        patch.setattr(loop, "validation", lambda *_: next(falling))
        call(place, "prepare", "digits")
        for method in RUNS:
            call(place, "update", *RUN, method, 0)
    return place


def networks(folder, method):
    """The evaluated network, and those of the training checkpoint without snapshots."""
    about, weights = load(folder / RUNS[method].weights)
    _, states = load(folder / RUNS[method].training_checkpoint)
    return about, weights[""], {name: state for name, state in states.items() if "/" not in name}


def equal(a, b):
    return all(torch.equal(tensor, b[name]) for name, tensor in a.items())


@pytest.mark.parametrize(
    ("method", "others"),
    [
        ("at", []),
        ("at_ema", ["average", "student"]),
        ("generalist", ["average_natural", "average_robust", "natural_expert", "student"]),
    ],
)
def test_the_evaluated_network_is_last_and_the_others_have_their_names(folder, method, others) -> None:
    _, _, states = networks(folder, method)
    assert sorted(states) == sorted(["best", "last", *others])


@pytest.mark.parametrize(("method", "exported"), [("at", "best"), ("at_ema", "average"), ("generalist", "best")])
def test_the_best_epoch_is_exported_and_another_than_the_last(folder, method, exported) -> None:
    about, weights, states = networks(folder, method)
    assert about.epoch == 1
    assert equal(weights, states[exported])
    assert not equal(weights, states["last"])


def test_where_an_average_is_evaluated_last_is_the_last_average(folder) -> None:
    _, _, states = networks(folder, "at_ema")
    _, _, of_at = networks(folder, "at")
    assert equal(states["student"], of_at["last"])  # AT's own training
    assert not equal(states["last"], states["student"])
