"""Pre-activation ResNet-18 for 32x32 images, with a final batch norm: 11,172,170 parameters (3 channels, 10 classes).

He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016; the variant of Rice et al. 2020.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cure.core.network import Network, Normalisation, Part, PreActivation, chain, conv, pool
from cure.settings.base import Settings


class Hyper(Settings):
    """Settings: an optional input normalisation."""

    normalise: Normalisation | None = None


class PreActBlock(PreActivation):
    """A pre-activation block; where size or width changes, a 1x1 shortcut takes the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride))

    def skip(self, x: Tensor, h: Tensor) -> Tensor:
        """Return the shortcut of h, or x itself."""
        past: Tensor = self.shortcut(h) if hasattr(self, "shortcut") else x
        return past


class PreActResNet18(Network):
    """Four stages of two blocks, 64 to 512 channels."""

    def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        super().__init__(hyper.normalise)
        self.conv1 = conv(channels, 64)
        stages = chain(PreActBlock, [64, 64, 128, 256, 512], [2, 2, 2, 2], strides=[1, 2, 2, 2])
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512, classes)

    def parts(self) -> list[Part]:
        """Return stem, layer1 .. layer4, pooled (after the final batch norm and ReLU), logits."""
        return [
            ("stem", self.conv1),
            *((f"layer{i}", getattr(self, f"layer{i}")) for i in (1, 2, 3, 4)),
            ("pooled", lambda x: pool(F.relu(self.bn(x)))),
            ("logits", self.linear),
        ]


MODEL = PreActResNet18
