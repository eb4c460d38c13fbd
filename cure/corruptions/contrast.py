"""Contrast: each channel is moved towards its own mean over the pixels of the image."""

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images


def apply(x: Images, factor: float, noise: PerImage) -> Images:
    """Keep `factor` of the distance from the mean."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * factor + mean


CORRUPTION = Corruption("digital", (0.75, 0.5, 0.4, 0.3, 0.15), apply)
