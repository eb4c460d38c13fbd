"""Zoom blur: the mean of the image and its copies zoomed by 1, 1.01, 1.02, ... (the image itself counts twice)."""

import numpy as np

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.data.image_filters import zoomed


def apply(x: Images, end: float, noise: PerImage) -> Images:
    """Zoom up to `end`, which floating point includes at 1.06 and 1.11 and excludes above, as in the original."""
    factors = np.arange(1, end, 0.01).tolist()
    total = x.clone()
    for factor in factors:
        total += zoomed(x, factor)
    return total / (len(factors) + 1)


CORRUPTION = Corruption("blur", (1.06, 1.11, 1.16, 1.21, 1.26), apply)
