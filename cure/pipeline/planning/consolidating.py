"""Count the consolidation of a method: run its `select_network` on untrained networks and a few small images."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from cure.core.method import Batch, Consolidation, Method, TrainingPosition
from cure.core.network import Network
from cure.core.noise import PerImage, Stream
from cure.pipeline.planning.step_profile import Flops, forward_flops

SIZE = 4  # pixels of a side: its memory is not counted, so the smallest images suffice
TRAIN, VAL = 2, 3  # images of a batch, which differ to tell their operations apart; batch norms need two


def consolidated(
    student: Network, method: Method, hyper: Any, validation_passes: int, splits: tuple[int, int], form: tuple[int, int]
) -> float:
    """Return the passes of `select_network` for `splits` (training and validation images).

    `student` is prepared as for its training. One validation takes `validation_passes`. `form` is (channels, classes).
    One batch of each split is forwarded, and the passes are scaled to the images of the split.
    """
    channels, classes = form
    batches = {count: _images(count, channels, classes) for count in (TRAIN, VAL)}
    validations = [0]
    roles = ("last", "best", "average", "revision") if method.revise else ("robust",)
    nets: dict[str, nn.Module] = {name: copy.deepcopy(student).eval() for name in roles}

    def each(epoch: int) -> Iterator[Batch]:
        x, y, index = batches[TRAIN]
        return iter([Batch(x, y, index, Stream(0, x.device), TrainingPosition(epoch))])

    def score(net: nn.Module) -> dict[str, float]:
        validations[0] += 1
        return {"clean": 0.5, "pgd": 0.5}

    def correct(net: nn.Module, draw: int) -> dict[str, torch.Tensor]:
        score(net)
        return dict.fromkeys(("clean", "pgd"), torch.ones(VAL, dtype=torch.bool))

    x, y, index = batches[VAL]
    val = [Batch(x, y, index, PerImage(0, index))]
    assert method.select_network is not None
    with torch.enable_grad(), (flops := Flops()):
        given = Consolidation(nets, {"last": 1, "best": 1}, each, val, score, correct)
        found, _, _ = method.select_network(given, hyper)
    score(found)
    unit = forward_flops(student, channels, SIZE)
    of_images = sum(flops.rows[rows] / rows / unit * images for rows, images in zip((TRAIN, VAL), splits, strict=True))
    return of_images + validations[0] * validation_passes


def _images(count: int, channels: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.rand(count, channels, SIZE, SIZE), torch.arange(count) % classes, torch.arange(count)
