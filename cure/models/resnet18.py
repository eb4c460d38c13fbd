"""ResNet-18 for 32x32 images: 3x3 stem, no max-pool, 11,173,962 parameters with 3 channels and 10 classes.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Parameter names are those of the released
TRADES, MART and CURE networks, so that their checkpoints load.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cure.core.network import Network, Normalisation, Part, chain, conv, pool
from cure.core.settings import Settings


class Hyper(Settings):
    """Nothing but an optional input normalisation."""

    normalise: Normalisation | None = None


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


class ResNet18(Network):
    """Four stages of two blocks, 64 to 512 channels."""

    def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        super().__init__(hyper.normalise)
        self.conv1 = conv(channels, 64)
        self.bn1 = nn.BatchNorm2d(64)
        stages = chain(BasicBlock, [64, 64, 128, 256, 512], depth=2, strides=[1, 2, 2, 2])
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear = nn.Linear(512, classes)

    def parts(self) -> list[Part]:
        """stem, layer1 .. layer4, pooled, logits."""
        return [
            ("stem", lambda x: F.relu(self.bn1(self.conv1(x)))),
            *((f"layer{i}", getattr(self, f"layer{i}")) for i in (1, 2, 3, 4)),
            ("pooled", pool),
            ("logits", self.linear),
        ]


MODEL = ResNet18
