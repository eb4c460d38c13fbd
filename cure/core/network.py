"""What a model is: a named chain of parts from images to logits."""

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

    mean: list[NonNegative]
    std: list[Positive]


class Normalise(nn.Module):
    """(x - mean) / std per channel. Constants of the model, so they stay out of its state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, how: Normalisation) -> None:
        super().__init__()
        for name, values in how:  # exact until the images' own precision is known
            exact = torch.tensor(values, dtype=torch.float64)[:, None, None]
            self.register_buffer(name, exact, persistent=False)

    def extra_repr(self) -> str:
        """The constants, which no state dict shows."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"

    def forward(self, x: Images) -> Images:
        """x in [0, 1]."""
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)


class Network(nn.Module):
    """A classifier made of `parts`, the last of which gives logits, the one before pooled features."""

    normalise: nn.Module

    def __init__(self, normalisation: Normalisation | None = None) -> None:
        super().__init__()
        self.normalise = Normalise(normalisation) if normalisation else nn.Identity()

    def parts(self) -> list[Part]:
        """(name, function) from the stem to the logits; blocks bear the papers' names."""
        raise TypeError(f"{type(self).__name__} does not say what it is made of")

    def forward(self, x: Images) -> Logits:
        """Logits of images in [0, 1], in the images' precision whatever autocast computes in."""
        h: Tensor = self.normalise(x)
        for _, part in self.parts():
            h = part(h)
        return h.to(x.dtype)

    def features(self, x: Images, names: list[str]) -> dict[str, Tensor]:
        """The outputs of the named parts. No hooks, so nothing outlives the call."""
        h, found = self.normalise(x), {}
        for name, part in self.parts():
            h = part(h)
            if name in names:
                found[name] = h.to(x.dtype)
        return found

    def map_and_rest(self, x: Images) -> tuple[Tensor, Callable[[Tensor], Logits]]:
        """The last feature map (n, c, h, w), and the function from it to the logits."""
        (*before, (_, pooled), (_, classify)) = self.parts()
        h = self.normalise(x)
        for _, part in before:
            h = part(h)
        return h.to(x.dtype), lambda features: classify(pooled(features))

    def width(self) -> int:
        """How many features the classifier sees."""
        _, classifier = self.parts()[-1]
        assert isinstance(classifier, nn.Linear)
        return classifier.in_features

    def block_names(self) -> list[str]:
        """The names that `features` knows, in order."""
        return [name for name, _ in self.parts()]

    def members(self) -> dict[str, list[nn.Module]]:
        """Part -> the children that it runs, which are registered in the order of use.

        So one without a part's name belongs to the stem if it stands before the first block, and to the pooled
        features if it stands behind the last.
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
        """The parts that have weights."""
        return [name for name, held in self.members().items() if any(list(child.parameters()) for child in held)]


def reinitialised(net: N) -> N:
    """A copy with fresh weights: the same architecture, another draw."""
    fresh = copy.deepcopy(net)
    for module in reversed(list(fresh.modules())):  # a network that has a draw of its own has the last word
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
        """What is added to the convolutions' output, from the input x and its activation h."""
        raise TypeError(f"{type(self).__name__} does not say what it skips")

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h/stride, w/stride)."""
        h = F.relu(self.bn1(x))
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(h))))
        return out + self.skip(x, h)


def chain(
    blocks: Callable[[int, int, int], nn.Module], widths: list[int], depths: list[int], strides: list[int]
) -> list[nn.Sequential]:
    """Stages of so many blocks each: widths[0] enters, each stage's first block takes its stride."""
    stages = []
    for (before, width), depth, stride in zip(pairwise(widths), depths, strides, strict=True):
        inputs = [before, *[width] * (depth - 1)]
        steps = [stride, *[1] * (depth - 1)]
        stages.append(nn.Sequential(*(blocks(i, width, s) for i, s in zip(inputs, steps, strict=True))))
    return stages


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A bias-free convolution that keeps the image size at stride 1."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def pool(x: Tensor) -> Tensor:
    """Global average over the pixels."""
    return x.mean(dim=(2, 3))
