"""A ResNet of four one-block stages for a CPU: ResNet-18 at half its depth and any width.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. With width 8, 3 channels and 10 classes it has
78,002 parameters. Images of 8x8 pixels have one pixel in the last stage, images of 32x32 have 4x4.
"""

from typing import Annotated

from pydantic import Field

from cure.core.network import Normalisation
from cure.models.parts.resnet import BasicBlock, ResNet
from cure.settings.base import Count, Settings


class Hyper(Settings):
    """Settings: channels of stem and first stage; every other stage has twice as many as the one before."""

    width: Annotated[Count, Field(le=1024)]  # a wider one does not fit into memory
    normalise: Normalisation | None = None


class SmallResNet(ResNet):
    """Four stages of one block, width to 8 width channels."""

    def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        super().__init__(BasicBlock, hyper.width, [1, 1, 1, 1], hyper.normalise, channels, classes)


MODEL = SmallResNet
