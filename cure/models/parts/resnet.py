"""Residual networks for small images: 3x3 stem, no max-pool, four stages of basic blocks or bottlenecks.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Parameter names are those of the released
TRADES, MART and CURE networks, so that their checkpoints load.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cure.core.network import Network, Normalisation, Part, chain, conv, pool


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return the identity, or a 1x1 convolution with its batch norm where size or width changes."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an identity or 1x1 shortcut; ReLU after the addition."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h/stride, w/stride)."""
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, a quarter as wide inside; a 1x1 shortcut where size or width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inside = outputs // 4
        self.conv1 = conv(inputs, inside, 1)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2 = conv(inside, inside, stride=stride)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3 = conv(inside, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h/stride, w/stride)."""
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(self.bn3(self.conv3(h)) + self.shortcut(x))


class ResNet(Network):
    """Four stages of blocks. All but the first halve the sides, and each is twice as wide as the one before.

    The stem has `width` channels. The first stage has as many, or four times as many with bottlenecks.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        width: int,
        depths: list[int],
        normalise: Normalisation | None,
        channels: int,
        classes: int,
    ) -> None:
        super().__init__(normalise)
        self.conv1 = conv(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        first = 4 * width if block is Bottleneck else width
        widths = [width, *(first << i for i in range(4))]
        self.layer1, self.layer2, self.layer3, self.layer4 = chain(block, widths, depths, strides=[1, 2, 2, 2])
        self.linear = nn.Linear(widths[-1], classes)

    def parts(self) -> list[Part]:
        """Return stem, layer1 .. layer4, pooled, logits."""
        return [
            ("stem", lambda x: F.relu(self.bn1(self.conv1(x)))),
            *((f"layer{i}", getattr(self, f"layer{i}")) for i in (1, 2, 3, 4)),
            ("pooled", pool),
            ("logits", self.linear),
        ]
