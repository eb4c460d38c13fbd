"""Gaussian noise: x + sigma N(0, 1) per value."""

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images


def apply(x: Images, sigma: float, noise: PerImage) -> Images:
    """Add noise with sigma in units of [0, 1]."""
    return x + noise.normal(x, sigma)


CORRUPTION = Corruption("noise", (0.04, 0.06, 0.08, 0.09, 0.10), apply)
