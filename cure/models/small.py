"""A network of three convolutions for 8x8 digits, the model of the quickstart: it trains on a CPU in seconds."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cure.core.network import Network, Normalisation, Part, conv, pool
from cure.settings.base import Count, Settings


class Hyper(Settings):
    """Settings: channels of the first block; the second has twice as many."""

    width: Annotated[Count, Field(le=4096)]  # a wider one does not fit into memory
    normalise: Normalisation | None = None


class Block(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h/stride, w/stride)."""
        return F.relu(self.bn1(self.conv1(x)))


class Small(Network):
    """Stem and two blocks, the second with stride 2, then the mean over pixels and a linear classifier."""

    def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        super().__init__(hyper.normalise)
        w = hyper.width
        self.stem = Block(channels, w, 1)
        self.layer1 = Block(w, 2 * w, 2)
        self.layer2 = Block(2 * w, 2 * w, 1)
        self.linear = nn.Linear(2 * w, classes)

    def parts(self) -> list[Part]:
        """Return stem, layer1, layer2, pooled, logits."""
        return [
            ("stem", self.stem),
            ("layer1", self.layer1),
            ("layer2", self.layer2),
            ("pooled", pool),
            ("logits", self.linear),
        ]


MODEL = Small
