"""What an analysis is: a few small arrays that show what a trained network, or its training, does to some images."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from cure.core.method import Batch, Gradients, Method, TrainingPosition
from cure.core.network import Network
from cure.core.noise import PerImage
from cure.core.tensors import Images, Labels, Tensor

LATE = TrainingPosition(epoch=10**6)
"""A position after any warm-up that a method may have."""


@dataclass(frozen=True)
class Replay:
    """One training step taken again, without moving the weights: their gradients, and what the method showed."""

    gradients: Gradients
    shown: dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """A moment of training: the student's weights after this share of the schedule, and its step on each batch."""

    share: float  # 0 is the start, 1 the end
    weights: dict[str, Tensor]
    replays: Callable[[], Iterator[Replay]]  # anew with every call, on the same batches in every phase


@dataclass(frozen=True)
class Subject:
    """The evaluated network of a run in eval mode, its method and settings, validation images, and its training.

    The images are unaugmented and evenly spread over the split; `perturb` makes all that is called adversarial.
    """

    net: Network
    method: Method
    hyper: Any
    x: Images
    y: Labels
    index: Labels  # each image's place in its split, which seeds its noise; on the host
    batch: int
    seed: int
    eps: float  # radius of the attack
    perturb: Callable[[Batch], Images]  # x' of a batch: the attack on the cross-entropy of the network
    phases: list[Phase]  # empty for a method with teachers, whose networks are other runs'

    def batches(self, size: int) -> Iterator[Batch]:
        """The images behind all warm-ups of the method, each with noise of its own, anew with every call."""
        parts = (torch.split(whole, size) for whole in (self.x, self.y, self.index))
        for x, y, index in zip(*parts, strict=True):
            yield Batch(x, y, index, PerImage(self.seed, index), LATE)

    def few(self, images: int) -> Batch:
        """So many of the images, evenly spread, as one batch; all of them if there are fewer."""
        images = min(images, len(self.y))
        rows = torch.arange(images) * len(self.y) // images
        index, there = self.index[rows], rows.to(self.y.device)
        return Batch(self.x[there], self.y[there], index, PerImage(self.seed, index), LATE)

    @cached_property
    def x_adv(self) -> Images:
        """x' of every image."""
        return torch.cat([self.perturb(batch) for batch in self.batches(self.batch)])

    def pairs(self, size: int) -> Iterator[tuple[Images, Images, Labels]]:
        """(x, x', y) in batches."""
        parts = (torch.split(whole, size) for whole in (self.x, self.x_adv, self.y))
        return zip(*parts, strict=True)


@dataclass(frozen=True)
class AnalysisResult:
    """Arrays by name. With `axes`, name -> labels, all of them have these axes, and so make a table with a line for
    each combination of labels; without, they are pictures with the image first."""

    arrays: dict[str, Tensor]
    axes: dict[str, list[Any]]


def every(method: Method) -> bool:
    """Accept the runs of any method."""
    return True


def replayable(method: Method) -> bool:
    """Accept methods whose training steps can be taken again without the networks of other runs."""
    return not method.teachers


@dataclass(frozen=True)
class Analysis:
    """An entry of cure/analyses; its module holds the settings class `Hyper`, too."""

    measure: Callable[[Subject, Any], AnalysisResult]
    suits: Callable[[Method], bool]  # runs of other methods are left out


def by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """Module -> its weights: conv1 -> [conv1.weight], bn1 -> [bn1.weight, bn1.bias]."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return layers


def dimensions(weights: Mapping[str, Tensor]) -> Tensor:
    """(layers): 4 for a convolution, 2 for a linear map, 1 for a batch norm, whose weights are vectors."""
    return torch.tensor([max(weights[name].ndim for name in names) for names in by_layer(weights).values()])


def per_layer(weights: Mapping[str, Tensor], of: Callable[[Tensor], Tensor]) -> Tensor:
    """(layers): `of` all weights of each layer, as one vector."""
    layers = by_layer(weights).values()
    found = [of(torch.cat([weights[name].flatten() for name in names])) for names in layers]
    return torch.stack(found) if found else torch.empty(0)
