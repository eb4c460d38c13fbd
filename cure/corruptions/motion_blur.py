"""Motion blur along a direction within 45 degrees of the horizontal."""

import torch

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.data.image_filters import motion


def apply(x: Images, constants: tuple[int, float], noise: PerImage) -> Images:
    """Blur with the constants radius and sigma in pixels."""
    degrees = noise.each(lambda g: torch.rand((), generator=g)) * 90 - 45
    return motion(x, *constants, degrees)


CORRUPTION = Corruption("blur", ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)), apply)
