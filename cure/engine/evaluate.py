"""Evaluation of one network on the test split: which network, which images, and corruptions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from cure import catalogue, paths
from cure.core.noise import PerImage, seed_for
from cure.engine import checkpoint, data, device
from cure.engine.checkpoint import Description
from cure.engine.loader import Split
from cure.engine.measure import frozen
from cure.errors import Refused
from cure.params import Params
from cure.paths import Cell
from cure.schema import CorruptSuite, Run, Suite

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


def corrupted(net: nn.Module, split: Split, suite: CorruptSuite, tick: Tick) -> dict[str, dict[str, int]]:
    """Corruption -> severity -> number of correctly classified images. Noise is seeded per image."""
    counts: dict[str, dict[str, int]] = {}
    with frozen(net), torch.no_grad():
        for name in suite.corruptions:
            corruption = catalogue.entry("corruptions", name).CORRUPTION
            for severity in suite.severities:
                right = 0
                for x, y, index in split.batches(suite.batch):
                    noise = PerImage(seed_for(suite.seed, name, severity), index)
                    right += int((net(corruption(x, severity, noise)).argmax(dim=1) == y).sum())
                counts.setdefault(name, {})[str(severity)] = right
                tick(name)
    return counts
