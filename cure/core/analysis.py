"""The contract of an analysis: small arrays that describe a trained network, or its training, on some images."""

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
    """A repeated training step that leaves the weights in place."""

    gradients: Gradients  # name of a weight -> gradient of the objective, shaped like the weight
    shown: dict[str, Any]  # name -> value that the method passed to `batch.show`


@dataclass(frozen=True)
class Phase:
    """A moment of training: the student's weights after this share of the schedule, and its step on each batch."""

    share: float  # from 0 (start) to 1 (end)
    weights: dict[str, Tensor]  # of the student, by name
    replays: Callable[[], Iterator[Replay]]  # a new iterator with each call; all phases share the batches


@dataclass(frozen=True)
class Subject:
    """The evaluated network of a run in eval mode, its method and settings, validation images, and its training.

    The images are unaugmented and evenly spread over the validation split. `perturb` makes every adversarial image.
    """

    net: Network  # in eval mode
    method: Method
    hyper: Any  # settings of the method
    x: Images  # (n, c, h, w) in [0, 1]
    y: Labels  # (n)
    index: Labels  # (n), on the CPU: position of each image in its split, which seeds its noise
    batch: int  # images of a batch of gradients
    seed: int  # of the noise
    eps: float  # L-inf radius of the attack, in units of [0, 1]
    perturb: Callable[[Batch], Images]  # adversarial images of a batch, by an attack on the network's cross-entropy
    phases: list[Phase]  # empty for a method with teachers, which are networks of other runs

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all images in order, in batches with a noise source of their own and at a position after any warm-up.

        Args:
            size: images of a batch; the last batch may be smaller.
        """
        parts = (torch.split(whole, size) for whole in (self.x, self.y, self.index))
        for x, y, index in zip(*parts, strict=True):
            yield Batch(x, y, index, PerImage(self.seed, index), LATE)

    def few(self, images: int) -> Batch:
        """Return a few evenly spread images as one batch.

        Args:
            images: size of the batch; all images are returned if there are fewer.
        """
        images = min(images, len(self.y))
        rows = torch.arange(images) * len(self.y) // images
        index, there = self.index[rows], rows.to(self.y.device)
        return Batch(self.x[there], self.y[there], index, PerImage(self.seed, index), LATE)

    @cached_property
    def x_adv(self) -> Images:
        """Return the adversarial image of every image, (n, c, h, w) in [0, 1]. The first access runs the attack."""
        return torch.cat([self.perturb(batch) for batch in self.batches(self.batch)])

    def pairs(self, size: int) -> Iterator[tuple[Images, Images, Labels]]:
        """Yield (x, x', y) in batches: images, adversarial images and labels.

        Args:
            size: images of a batch; the last batch may be smaller.
        """
        parts = (torch.split(whole, size) for whole in (self.x, self.x_adv, self.y))
        return zip(*parts, strict=True)


@dataclass(frozen=True)
class AnalysisResult:
    """The arrays that an analysis returns by name: one table, or pictures.

    A table has a line for each combination of the axes' labels.
    """

    arrays: dict[str, Tensor]  # with `axes`, all have these axes and become one table; else pictures, image first
    axes: dict[str, list[Any]]  # name of an axis -> its labels, in the order of the arrays' dimensions


def every(method: Method) -> bool:
    """Accept the runs of any method."""
    return True


def replayable(method: Method) -> bool:
    """Accept methods whose training steps can be repeated without the networks of other runs."""
    return not method.teachers


@dataclass(frozen=True)
class Analysis:
    """An entry of cure/analyses, as its module names it `ANALYSIS`; the settings class `Hyper` is beside it."""

    measure: Callable[[Subject, Any], AnalysisResult]  # from the `Subject` and the settings
    suits: Callable[[Method], bool]  # whether it applies to a method; the runs of others are left out


def by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """Group the names of weights by module: conv1 -> [conv1.weight], bn1 -> [bn1.weight, bn1.bias]."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return layers


def dimensions(weights: Mapping[str, Tensor]) -> Tensor:
    """Return (layers): 4 for a convolution, 2 for a linear map, 1 for a batch norm, whose weights are vectors."""
    return torch.tensor([max(weights[name].ndim for name in names) for names in by_layer(weights).values()])


def per_layer(weights: Mapping[str, Tensor], of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return (layers): the number that `of` computes from all weights of a layer, flattened into one vector."""
    layers = by_layer(weights).values()
    found = [of(torch.cat([weights[name].flatten() for name in names])) for names in layers]
    return torch.stack(found) if found else torch.empty(0)
