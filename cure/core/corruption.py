"""What a corruption is: a function of images, a severity 1..5 and noise, with CIFAR-10-C's constants.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019; the
constants are those of the CIFAR version. Lengths that it gives in pixels stay pixels whatever the image size; what it
derives from the side of the image (zoom, pixelate, the elastic field, the fog map) follows the side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.errors import UserError

VERSION = "cifar-c 1"
"""Stands in every result; a change to a generated image needs another one."""
CATEGORIES = ("noise", "blur", "weather", "digital")
BENCHMARK = {
    "gaussian_noise": "noise",
    "shot_noise": "noise",
    "impulse_noise": "noise",
    "defocus_blur": "blur",
    "glass_blur": "blur",
    "motion_blur": "blur",
    "zoom_blur": "blur",
    "snow": "weather",
    "frost": "weather",
    "fog": "weather",
    "brightness": "weather",
    "contrast": "digital",
    "elastic_transform": "digital",
    "pixelate": "digital",
    "jpeg_compression": "digital",
}
"""The 15 of CIFAR-10-C with their categories: the mean of a table runs over these and no others."""
EXTRAS = {"speckle_noise": "noise", "gaussian_blur": "blur", "spatter": "weather", "saturate": "digital"}
"""The four that CIFAR-10-C has besides."""
WHOLE = 5e-4
"""Levels by which rounding errors may miss a whole level, so that it stays one on every machine."""

SMALLEST = 3
"""Pixels of a side: less has no neighbours on both sides to blur with."""

Picture = NDArray[np.uint8]  # (h, w, 3)


@dataclass(frozen=True)
class Corruption:
    """An entry of cure/corruptions: `severities` holds its constants at severity 1, 2, 3, 4, 5."""

    category: Literal["noise", "blur", "weather", "digital"]
    severities: tuple[Any, Any, Any, Any, Any]
    apply: Callable[..., Images]  # (x, constants, noise), and the pictures where there are some
    needs: tuple[str, ...] = ()  # modules of the optional packages
    pictures: tuple[str, ...] = ()  # files of the first of them, read by the engine

    def __call__(self, x: Images, severity: int, noise: PerImage, pictures: Sequence[Picture] = ()) -> Images:
        """Corrupt x in [0, 1], clip it and, as in CIFAR-10-C, truncate it (not round it) to 8 bits.

        UserError: a side is shorter than SMALLEST pixels.
        """
        if min(x.shape[2:]) < SMALLEST:
            h, w = x.shape[2:]
            raise UserError(
                f"corruptions: images of {h}x{w} pixels have no room for a blur; they need {SMALLEST} a side"
            )
        own = [pictures] if self.pictures else []
        return truncated(self.apply(x, self.severities[severity - 1], noise, *own))


def refuse_empty_mean(names: list[str]) -> None:
    """Refuse a list of corruptions with none of the 15, over which the table's mean would run."""
    if not set(names) & set(BENCHMARK):
        raise UserError(
            f"corrupt.corruptions: none of the 15 of CIFAR-10-C, over which the table's mean runs; add one of "
            f"{', '.join(BENCHMARK)}"
        )


def truncated(x: Images) -> Images:
    """floor(255 x) / 255 of x clipped to [0, 1]."""
    return (x.clamp(0, 1) * 255 + WHOLE).floor() / 255
