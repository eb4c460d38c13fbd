"""Speckle noise: x + x sigma N(0, 1) per value (one of CIFAR-10-C's extras)."""

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images


def apply(x: Images, sigma: float, noise: PerImage) -> Images:
    """Add noise with sigma relative to the value."""
    return x + x * noise.normal(x, sigma)


CORRUPTION = Corruption("noise", (0.06, 0.1, 0.12, 0.16, 0.2), apply)
