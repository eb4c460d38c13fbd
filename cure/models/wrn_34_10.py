"""WideResNet-34-10 for 32x32 images: 46,160,474 parameters (3 channels, 10 classes).

Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016. Parameter names are those of the released TRADES network.
That network has an extra first block which it never uses (2,102,112 parameters); it is left out here.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from cure.core.network import Network, Normalisation, Part, PreActivation, chain, conv, pool
from cure.settings.base import Settings


class Hyper(Settings):
    """Settings: an optional input normalisation."""

    normalise: Normalisation | None = None


class WideBlock(PreActivation):
    """A pre-activation block; where the width changes, a 1x1 shortcut takes the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.convShortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def skip(self, x: Tensor, h: Tensor) -> Tensor:
        """Return the shortcut of h, or x itself."""
        past: Tensor = self.convShortcut(h) if self.convShortcut is not None else x
        return past


class Stage(nn.Module):
    """A stage whose blocks are named `layer`, as in the released network."""

    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks one after the other."""
        out: Tensor = self.layer(x)
        return out


class WideResNet(Network):
    """Three stages of five blocks, 160 to 640 channels; no dropout."""

    def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        super().__init__(hyper.normalise)
        self.conv1 = conv(channels, 16)
        stages = chain(WideBlock, [16, 160, 320, 640], [5, 5, 5], strides=[1, 2, 2])
        self.block1, self.block2, self.block3 = map(Stage, stages)
        self.bn1 = nn.BatchNorm2d(640)
        self.fc = nn.Linear(640, classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw He-initialised weights by fan-out; the classifier starts without bias."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        nn.init.zeros_(self.fc.bias)

    def parts(self) -> list[Part]:
        """Return stem, block1 .. block3, pooled (after the final batch norm and ReLU), logits."""
        return [
            ("stem", self.conv1),
            *((f"block{i}", getattr(self, f"block{i}")) for i in (1, 2, 3)),
            ("pooled", lambda x: pool(F.relu(self.bn1(x)))),
            ("logits", self.fc),
        ]


MODEL = WideResNet
