"""ResNet-34 for small images: 3x3 stem, no max-pool, 21,282,122 parameters with 3 channels and 10 classes.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

RiFT's authors pool 4x4 pixels, which leaves 2x2 of them and a classifier of 2048 features on 64x64 images. Here the
pool is global at every size.
"""

from cure.core.network import Normalisation
from cure.models.parts.resnet import BasicBlock, ResNet
from cure.settings.base import Settings


class Hyper(Settings):
    """Settings: an optional input normalisation."""

    normalise: Normalisation | None = None


class ResNet34(ResNet):
    """Sixteen basic blocks in four stages, 64 to 512 channels."""

    def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        super().__init__(BasicBlock, 64, [3, 4, 6, 3], hyper.normalise, channels, classes)


MODEL = ResNet34
