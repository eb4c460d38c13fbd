"""What a model is: a named chain of parts from images to logits."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from cure.core.settings import NonNegative, Positive, Settings
from cure.core.tensors import Images, Logits, Tensor

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
        self.register_buffer("mean", torch.tensor(how.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(how.std)[:, None, None], persistent=False)

    def forward(self, x: Images) -> Images:
        """x in [0, 1]."""
        return (x - self.mean) / self.std


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
        """Logits of images in [0, 1]."""
        h: Tensor = self.normalise(x)
        for _, part in self.parts():
            h = part(h)
        return h

    def features(self, x: Images, names: list[str]) -> dict[str, Tensor]:
        """The outputs of the named parts. No hooks, so nothing outlives the call."""
        h, found = self.normalise(x), {}
        for name, part in self.parts():
            h = part(h)
            if name in names:
                found[name] = h
        return found

    def block_names(self) -> list[str]:
        """The names that `features` knows, in order."""
        return [name for name, _ in self.parts()]


def chain(
    blocks: Callable[[int, int, int], nn.Module], widths: list[int], depth: int, strides: list[int]
) -> list[nn.Sequential]:
    """Stages of `depth` blocks: widths[0] enters, each stage's first block takes its stride."""
    stages = []
    for (before, width), stride in zip(pairwise(widths), strides, strict=True):
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
