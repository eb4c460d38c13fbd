"""Evaluation of one network on the test split: what the stages attack and corrupt and `cure eval` share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from cure import catalogue, paths
from cure.core.tensors import Flags
from cure.engine import checkpoint, data, device
from cure.engine.checkpoint import Description
from cure.engine.loader import Split
from cure.engine.measure import Attack, outcomes
from cure.errors import Refused
from cure.params import Params, armed
from cure.paths import Cell
from cure.schema import AttackSuite, Run, Suite, Threat

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """An evaluated network of the pipeline and the test images it meets."""

    about: Description
    net: nn.Module
    split: Split
    run: Run
    device: torch.device


def bench(cell: Cell, params: Params, suite: Suite) -> Bench:
    """The network of `cell` on its device, with the suite's number of test images."""
    run = params.get("run", Run)
    where = device.set_up(run)
    about, states = checkpoint.load(cell.weights)
    if "" not in states:
        raise Refused(f"{cell.weights}: holds a trajectory, not one network")
    for what, found, wanted in (("model", about.model, cell.model), ("method", about.method, cell.method)):
        if found != wanted:
            raise Refused(f"{cell.weights}: its {what} is {found}, but {cell.name} needs {wanted}")
    source = data.load(paths.data(cell.dataset), ("test",), where)
    net = checkpoint.network(about, states[""], cell.weights).to(where)
    return Bench(about, net, test_split(about, source, suite.images), run, where)


def test_split(about: Description, source: data.Data, images: int) -> Split:
    """`images` test images, evenly spread; refuses data other than those the network was trained on."""
    if source.digest != about.data_digest:
        raise Refused(f"{source.path}: not the file that these weights were trained with (its sha256 differs)")
    return source.splits["test"].spread(images)


def columns(suite: AttackSuite, threat: Threat) -> dict[str, Attack]:
    """The attacks of the suite by column, each with its settings over the threat model."""

    def bind(settings: dict[str, Any]) -> Attack:
        entry = catalogue.entry("attacks", settings["attack"])
        own = {key: value for key, value in settings.items() if key != "attack"}
        hyper = entry.Hyper.model_validate(armed(entry.Hyper, own, threat.model_dump()))
        return partial(entry.attack, hyper=hyper)

    return {name: bind(settings) for name, settings in suite.columns.items()}


def attacked(net: nn.Module, split: Split, suite: AttackSuite, threat: Threat, tick: Tick) -> dict[str, Flags]:
    """Per-image flags: clean, and each column of the suite."""
    return outcomes(net, split, columns(suite, threat), batch=suite.batch, seed=suite.seed, tick=tick)


def batches(split: Split, size: int) -> int:
    """How many batches `split` makes."""
    return math.ceil(len(split) / size)
