"""What the consolidation of a row will do: its `finish` run on stand-ins of a few small images, and counted."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from cure.core.method import Batch, Consolidation, Method
from cure.core.network import Network
from cure.core.noise import PerImage, Stream
from cure.engine.fit import validation
from cure.engine.loader import Split, as_float
from cure.engine.rehearse import Flops, forward_flops
from cure.schema import Train

SIZE = 4  # pixels of a side: nothing of its memory is counted, so the smallest will do
IMAGES = 2  # batch norms need two


def consolidated(
    net: Network, method: Method, hyper: Any, train: Train, classes: int, splits: tuple[int, int]
) -> float:
    """Passes of `finish` for so many training and validation images.

    It is linear in both; how much is of which, two rehearsals tell, the second with twice the training images.
    """
    channels = _channels(net)
    unit = forward_flops(net, channels, SIZE) * IMAGES
    once, twice = (_rehearsed(net, method, hyper, train, (channels, classes), batches) / unit for batches in (1, 2))
    of_training = twice - once
    return of_training * splits[0] + (once - of_training) * splits[1]


def _channels(net: nn.Module) -> int:
    return next(module.in_channels for module in net.modules() if isinstance(module, nn.Conv2d))


def _rehearsed(net: Network, method: Method, hyper: Any, train: Train, form: tuple[int, int], batches: int) -> int:
    """Operations of `finish` with so many training batches and one of validation."""
    channels, classes = form
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (IMAGES, channels, SIZE, SIZE), generator=draws, dtype=torch.uint8)
    y, index = torch.arange(IMAGES) % classes, torch.arange(IMAGES)
    student = copy.deepcopy(net)
    if method.prepare and method.revise:
        method.prepare(student)
    roles = ("last", "best", "average", "revision") if method.revise else ("robust",)
    nets: dict[str, nn.Module] = {name: copy.deepcopy(student).eval() for name in roles}

    def each(epoch: int) -> Iterator[Batch]:
        return (Batch(as_float(images), y, index, Stream(0, images.device), epoch) for _ in range(batches))

    def score(net: nn.Module) -> dict[str, float]:
        return validation(net, Split(images, y), train, 0)

    val = [Batch(as_float(images), y, index, PerImage(0, index))]
    assert method.finish is not None
    with torch.enable_grad(), (flops := Flops()):
        found, _, _ = method.finish(Consolidation(nets, {"last": 1, "best": 1}, each, val, score), hyper)
        score(found)
    return flops.total
