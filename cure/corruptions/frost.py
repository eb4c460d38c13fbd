"""Frost: a crop of a photograph of frost is added to the image.

The photographs are those of the authors, from the package imagecorruptions-imaug. The original lists six and draws from
the first five. It scales them by 0.2. Where the result would be smaller than the image, this code shrinks them less.
"""

from collections.abc import Sequence

import numpy as np
import torch

from cure.core.corruption import Corruption, Picture
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.data.image_filters import grey


def scaled(picture: Picture, side: int) -> Picture:
    """Scale by 0.2, bilinear without anti-aliasing, but to more than `side` pixels."""
    import cv2

    scale = max(0.2, (side + 1) / min(picture.shape[:2]))
    return np.asarray(cv2.resize(picture, (0, 0), fx=scale, fy=scale), dtype=np.uint8)


def apply(x: Images, constants: tuple[float, float], noise: PerImage, pictures: Sequence[Picture]) -> Images:
    """Compute a x + b frost with the constants a and b."""
    a, b = constants
    h, w = x.shape[2:]
    sheets = [scaled(picture, max(h, w)) for picture in pictures]
    crops = np.empty((len(x), h, w, 3), np.uint8)
    for crop, draws in zip(crops, noise.each(lambda g: torch.rand(3, generator=g)).tolist(), strict=True):
        sheet = sheets[int(draws[0] * len(sheets))]
        top, left = int(draws[1] * (sheet.shape[0] - h)), int(draws[2] * (sheet.shape[1] - w))
        crop[:] = sheet[top : top + h, left : left + w]
    frost = torch.from_numpy(crops).permute(0, 3, 1, 2).to(x.dtype) / 255
    return a * x + b * (frost if x.shape[1] == 3 else grey(frost))


CORRUPTION = Corruption(
    "weather",
    ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    apply,
    needs=("imagecorruptions", "cv2"),
    pictures=("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"),
)
