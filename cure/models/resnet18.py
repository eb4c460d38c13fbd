"""ResNet-18 for 32x32 images: 3x3 stem, no max-pool, 11,173,962 parameters with 3 channels and 10 classes.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Parameter names are those of the released
TRADES, MART and CURE networks, so that their checkpoints load.
"""

from cure.core.network import Normalisation
from cure.models.parts.resnet import BasicBlock, ResNet
from cure.settings.base import Settings


class Hyper(Settings):
    """Settings: an optional input normalisation."""

    normalise: Normalisation | None = None


class ResNet18(ResNet):
    """Four stages of two blocks, 64 to 512 channels."""

    def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        super().__init__(BasicBlock, 64, [2, 2, 2, 2], hyper.normalise, channels, classes)


MODEL = ResNet18
