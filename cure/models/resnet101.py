"""ResNet-101 for small images: 3x3 stem, no max-pool, 42,512,970 parameters with 3 channels and 10 classes.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

CURE's authors use ImageNet's stem (7x7 with stride 2, max-pool), which reduces 32x32 images to a single pixel in the
last stage. Here the stem is that of ResNet-18.
"""

from cure.core.network import Normalisation
from cure.models.parts.resnet import Bottleneck, ResNet
from cure.settings.base import Settings


class Hyper(Settings):
    """Settings: an optional input normalisation."""

    normalise: Normalisation | None = None


class ResNet101(ResNet):
    """Thirty-three bottlenecks in four stages, 256 to 2048 channels."""

    def __init__(self, hyper: Hyper, channels: int, classes: int) -> None:
        super().__init__(Bottleneck, 64, [3, 4, 23, 3], hyper.normalise, channels, classes)


MODEL = ResNet101
