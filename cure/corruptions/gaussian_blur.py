"""Gaussian blur: convolution with a Gaussian of sigma pixels; the border is repeated (one of CIFAR-10-C's extras)."""

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.data.image_filters import gaussian


def apply(x: Images, sigma: float, noise: PerImage) -> Images:
    """Blur with sigma in pixels."""
    return gaussian(x, sigma)


CORRUPTION = Corruption("blur", (0.4, 0.6, 0.7, 0.8, 1.0), apply)
