"""The contract of a model: a named chain of parts from images to logits.

An entry cure/models/NAME.py defines `Hyper(Settings)`, its section of params.yaml, and `MODEL`, a subclass of `Network`
that is built as `MODEL(hyper, channels=c, classes=k)`.
"""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from cure.core.tensors import Images, Logits, Tensor
from cure.settings.base import NonNegative, Positive, Settings

N = TypeVar("N", bound=nn.Module)
Part = tuple[str, Callable[[Tensor], Tensor]]


class Normalisation(Settings):
    """Per-channel mean and standard deviation, subtracted and divided by the first layer of the model."""

    mean: list[NonNegative]  # one value per channel, for images in [0, 1]
    std: list[Positive]  # one value per channel


class Normalise(nn.Module):
    """Compute (x - mean) / std per channel. The constants belong to the model, so they are not in its state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, how: Normalisation) -> None:
        super().__init__()
        for name, values in how:  # float64, since the precision of the images is only known in `forward`
            exact = torch.tensor(values, dtype=torch.float64)[:, None, None]
            self.register_buffer(name, exact, persistent=False)

    def extra_repr(self) -> str:
        """Return mean and standard deviation, which no state dict shows."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"

    def forward(self, x: Images) -> Images:
        """Normalise images (n, c, h, w) in [0, 1]."""
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)


class Network(nn.Module):
    """A classifier made of `parts`, the base class of every `MODEL` in cure/models.

    The last part returns logits and must be a linear layer for `width`; the part before it returns pooled features.

    Args:
        normalisation: mean and standard deviation per channel, or None. Images come in [0, 1], so the model normalises.

    Example:
        >>> class Linear(Network):
        ...     def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        ...         super().__init__()
        ...         self.stem = conv(channels, 16)
        ...         self.linear = nn.Linear(16, classes)
        ...
        ...     def parts(self) -> list[Part]:
        ...         return [("stem", self.stem), ("pooled", pool), ("logits", self.linear)]
    """

    normalise: nn.Module

    def __init__(self, normalisation: Normalisation | None = None) -> None:
        super().__init__()
        self.normalise = Normalise(normalisation) if normalisation else nn.Identity()

    def parts(self) -> list[Part]:
        """Return (name, function) of each part, from the stem to the logits; blocks have the papers' names.

        Raises:
            TypeError: the subclass does not define its parts.
        """
        raise TypeError(f"{type(self).__name__} does not define its parts")

    def forward(self, x: Images) -> Logits:
        """Classify images.

        Args:
            x: (n, c, h, w) images in [0, 1].

        Returns:
            (n, k) logits, in the precision of the images whatever autocast computes in.
        """
        h: Tensor = self.normalise(x)
        for _, part in self.parts():
            h = part(h)
        return h.to(x.dtype)

    def features(self, x: Images, names: list[str]) -> dict[str, Tensor]:
        """Return the outputs of the named parts. This sets no hooks, so nothing outlives the call.

        Args:
            x: (n, c, h, w) images in [0, 1].
            names: names among `block_names()`; others are ignored.

        Returns:
            Name -> output of the part, in the precision of the images.
        """
        h, found = self.normalise(x), {}
        for name, part in self.parts():
            h = part(h)
            if name in names:
                found[name] = h.to(x.dtype)
        return found

    def map_and_rest(self, x: Images) -> tuple[Tensor, Callable[[Tensor], Logits]]:
        """Return the last feature map (n, c, h, w), and the function from such a map to the logits.

        Args:
            x: (n, c, h, w) images in [0, 1].
        """
        (*before, (_, pooled), (_, classify)) = self.parts()
        h = self.normalise(x)
        for _, part in before:
            h = part(h)
        return h.to(x.dtype), lambda features: classify(pooled(features))

    def width(self) -> int:
        """Return the number of features that the classifier takes."""
        _, classifier = self.parts()[-1]
        assert isinstance(classifier, nn.Linear)
        return classifier.in_features

    def block_names(self) -> list[str]:
        """Return the names of the parts, in order."""
        return [name for name, _ in self.parts()]

    def members(self) -> dict[str, list[nn.Module]]:
        """Return the children that each part runs; children must be registered in the order of use.

        A child without a part's name belongs to the stem if it is registered before the first block. It belongs to the
        pooled features if it is registered after the last block.
        """
        (stem, _), *_, (pooled, _), (last, classifier) = self.parts()
        found: dict[str, list[nn.Module]] = {name: [] for name in self.block_names()}
        at = stem
        for name, child in self.named_children():
            if child is classifier:
                found[last].append(child)
            elif name in found:
                found[name].append(child)
                at = at if name == stem else pooled
            else:
                found[at].append(child)
        return found

    def updatable(self) -> list[str]:
        """Return the names of the parts that have weights."""
        return [name for name, held in self.members().items() if any(list(child.parameters()) for child in held)]


def reinitialised(net: N) -> N:
    """Return a copy of a network with freshly drawn weights."""
    fresh = copy.deepcopy(net)
    for module in reversed(list(fresh.modules())):  # outermost last: a network may have its own initialisation
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return fresh


class PreActivation(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, around a skip that a model defines."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, stride=stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs)

    def skip(self, x: Tensor, h: Tensor) -> Tensor:
        """Return the tensor that is added to the convolutions' output.

        Args:
            x: The input of the block (n, inputs, h, w).
            h: relu(bn1(x)), of the same shape.

        Raises:
            TypeError: The subclass does not define it.
        """
        raise TypeError(f"{type(self).__name__} does not define its skip")

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h/stride, w/stride)."""
        h = F.relu(self.bn1(x))
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(h))))
        return out + self.skip(x, h)


def chain(
    blocks: Callable[[int, int, int], nn.Module], widths: list[int], depths: list[int], strides: list[int]
) -> list[nn.Sequential]:
    """Build the stages of a network from its blocks.

    Args:
        blocks: makes a block from input channels, output channels and stride.
        widths: channels of the stem, then of each stage.
        depths: blocks of each stage.
        strides: stride of the first block of each stage; all other blocks have stride 1.
    """
    stages = []
    for (before, width), depth, stride in zip(pairwise(widths), depths, strides, strict=True):
        inputs = [before, *[width] * (depth - 1)]
        steps = [stride, *[1] * (depth - 1)]
        stages.append(nn.Sequential(*(blocks(i, width, s) for i, s in zip(inputs, steps, strict=True))))
    return stages


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the image size at stride 1."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def pool(x: Tensor) -> Tensor:
    """Return the mean over the pixels: (n, c, h, w) -> (n, c)."""
    return x.mean(dim=(2, 3))
