"""Shot noise: Poisson(rate x) / rate per value."""

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images


def apply(x: Images, rate: float, noise: PerImage) -> Images:
    """Draw Poisson counts with `rate` photons at x = 1."""
    return noise.poisson(x * rate) / rate


CORRUPTION = Corruption("noise", (500.0, 250.0, 100.0, 75.0, 50.0), apply)
