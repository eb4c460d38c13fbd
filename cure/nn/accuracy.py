"""Accuracies as tensors that stay on the device."""

from collections.abc import Iterator

import torch
from torch import nn

from cure.core.method import Batch
from cure.core.tensors import Flags, Images, Labels, Tensor
from cure.runtime import distributed


def right(net: nn.Module, x: Images, y: Labels) -> Flags:
    """Return where `net`, in its present mode, predicts the label."""
    with torch.no_grad():
        correct: Flags = net(x).argmax(dim=1) == y
    return correct


def on_first(net: nn.Module, batches: Iterator[Batch], images: int) -> Tensor:
    """Return the accuracy in [0, 1] on the first batches that hold at least `images` images, over all ranks."""
    found: list[Flags] = []
    while distributed.count() * sum(map(len, found)) < images and (batch := next(batches, None)):
        found.append(right(net, batch.x, batch.y))
    hits = torch.cat(found).float()
    correct, seen = distributed.mean([hits.sum(), hits.new_full((), float(len(hits)))])
    return correct / seen
