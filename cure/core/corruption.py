"""The contract of a corruption: a function of images, a severity 1..5 and noise, with CIFAR-10-C's constants.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019; the
constants are those of the CIFAR version. Lengths that it gives in pixels stay the same at every image size. Lengths
that it derives from the side of the image (zoom, pixelate, the elastic field, the fog map) follow the side.
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
"""Version of the generated images, written into every result; raise it with any change that alters an image."""
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
"""The 15 corruptions of CIFAR-10-C with their categories. The mean of a table is over these alone."""
EXTRAS = {"speckle_noise": "noise", "gaussian_blur": "blur", "spatter": "weather", "saturate": "digital"}
"""The four extra corruptions of CIFAR-10-C."""
WHOLE = 5e-4
"""A value this part of a grey level below a whole level counts as that level, so that all machines truncate alike."""

SMALLEST = 3
"""Smallest side of an image in pixels. A shorter one has no neighbours on both sides to blur with."""

Picture = NDArray[np.uint8]  # (h, w, 3)


@dataclass(frozen=True)
class Corruption:
    """An entry of cure/corruptions, as its module names it `CORRUPTION`."""

    category: Literal["noise", "blur", "weather", "digital"]
    severities: tuple[Any, Any, Any, Any, Any]  # constants of severity 1, 2, 3, 4, 5
    apply: Callable[..., Images]  # (x, constants, noise[, pictures]) -> images like x, not yet clipped
    needs: tuple[str, ...] = ()  # modules of the optional packages
    pictures: tuple[str, ...] = ()  # picture files in the first of these packages; the caller reads them

    def __call__(self, x: Images, severity: int, noise: PerImage, pictures: Sequence[Picture] = ()) -> Images:
        """Corrupt images, clip them to [0, 1] and, as in CIFAR-10-C, truncate them (not round them) to 8 bits.

        Args:
            x: (n, c, h, w) images in [0, 1].
            severity: 1 (weakest) to 5.
            noise: a source of draws for each image.
            pictures: the pictures named by `self.pictures`, each (h, w, 3) uint8.

        Returns:
            (n, c, h, w) images in [0, 1], whole multiples of 1/255.

        Raises:
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
    """Refuse corruptions of which the table can make no mean.

    Args:
        names: Keys of corruptions.

    Raises:
        UserError: None of them is among the 15 of CIFAR-10-C.
    """
    if not set(names) & set(BENCHMARK):
        raise UserError(
            f"corrupt.corruptions: none of the 15 of CIFAR-10-C, over which the table's mean runs; add one of "
            f"{', '.join(BENCHMARK)}"
        )


def truncated(x: Images) -> Images:
    """Return floor(255 x) / 255 of x clipped to [0, 1]."""
    return (x.clamp(0, 1) * 255 + WHOLE).floor() / 255
