"""Pixelate: box filters reduce the image to int(share side) pixels and enlarge it again."""

from PIL import Image

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.data.image_filters import by_picture


def apply(x: Images, share: float, noise: PerImage) -> Images:
    """Keep `share` of the side."""
    h, w = x.shape[2:]
    small = max(1, int(w * share)), max(1, int(h * share))
    box = Image.Resampling.BOX
    return by_picture(x, lambda picture: picture.resize(small, box).resize((w, h), box))


CORRUPTION = Corruption("digital", (0.95, 0.9, 0.85, 0.75, 0.65), apply)
