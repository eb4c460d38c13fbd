"""Spatter: drops of water (severities 1 to 3) or mud (4 and 5) on the lens (one of CIFAR-10-C's extras)."""

import numpy as np
import torch

from cure.core.corruption import Corruption, Picture
from cure.core.noise import PerImage
from cure.core.tensors import Images, Tensor
from cure.data.image_filters import gaussian, grey

WATER, MUD = (175, 238, 238), (63, 42, 20)
RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def relief(layer: Picture) -> Picture:
    """Return (h, w): the brightness of the drops of an 8-bit layer, by the distance from their edges."""
    import cv2

    edges = cv2.Canny(layer, 50, 150)
    distance = np.minimum(cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5), 20)
    even = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    return np.asarray(cv2.blur(cv2.filter2D(even, cv2.CV_8U, RELIEF), (3, 3)))


def water(liquid: Tensor, strength: float) -> Tensor:
    """Return (n, 1, h, w): the layer times its relief, `strength` at its brightest; 0 for an image without drops."""
    layers = (liquid.clamp(0, 1) * 255).to(torch.uint8)
    shine = torch.stack([torch.from_numpy(relief(layer.numpy())) for layer in layers[:, 0]])[:, None]
    drops = layers.to(liquid.dtype) * shine
    return strength * drops / drops.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)


def mud(liquid: Tensor, threshold: float, sigma: float) -> Tensor:
    """Return (n, 1, h, w): where the layer is above the threshold, smoothed; values below 0.8 become 0."""
    smooth = gaussian((liquid > threshold).to(liquid.dtype), sigma)
    return torch.where(smooth < 0.8, 0, smooth)


def apply(x: Images, constants: tuple[float, float, float, float, float, bool], noise: PerImage) -> Images:
    """Add water, x + m colour, or mud, (1 - m) x + m colour; grey images take the colour's grey.

    The constants are mean, sd, blur and threshold of the layer, the water's strength or the sigma of the mud, and
    whether it is mud.
    """
    mean, sd, blur, threshold, strength, muddy = constants
    liquid = gaussian(mean + noise.normal(x[:, :1], sd), blur)
    liquid = torch.where(liquid < threshold, 0, liquid)
    mask = mud(liquid, threshold, strength) if muddy else water(liquid, strength)
    colour = x.new_tensor(MUD if muddy else WATER)[None, :, None, None] / 255
    colour = colour if x.shape[1] == 3 else grey(colour)
    return (1 - mask * muddy) * x + mask * colour


CORRUPTION = Corruption(
    "weather",
    (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1.0, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    apply,
    needs=("cv2",),
)
