"""Residual networks for small images: 3x3 stem, no max-pool, four stages of basic blocks.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Parameter names are those of the released
TRADES, MART and CURE networks, so that their checkpoints load.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cure.core.network import Network, Normalisation, Part, chain, conv, pool


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an identity or 1x1 shortcut; ReLU after the addition."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h/stride, w/stride)."""
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class ResNet(Network):
    """Four stages of `depth` basic blocks, of width, 2, 4 and 8 width channels; all but the first halve the sides."""

    def __init__(self, width: int, depth: int, normalise: Normalisation | None, channels: int, classes: int) -> None:
        super().__init__(normalise)
        self.conv1 = conv(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, *(width << i for i in range(4))]
        self.layer1, self.layer2, self.layer3, self.layer4 = chain(BasicBlock, widths, depth, strides=[1, 2, 2, 2])
        self.linear = nn.Linear(widths[-1], classes)

    def parts(self) -> list[Part]:
        """stem, layer1 .. layer4, pooled, logits."""
        return [
            ("stem", lambda x: F.relu(self.bn1(self.conv1(x)))),
            *((f"layer{i}", getattr(self, f"layer{i}")) for i in (1, 2, 3, 4)),
            ("pooled", pool),
            ("logits", self.linear),
        ]
