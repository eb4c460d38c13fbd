"""Defocus blur: convolution with a disk with a softened edge; the border is mirrored without being repeated."""

import torch
import torch.nn.functional as F

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images, Tensor


def disk(radius: float, edge: float) -> Tensor:
    """Return (k, k) with sum 1: u^2 + v^2 <= radius^2, blurred along both axes by a 3-tap Gaussian of `edge` pixels."""
    reach = int(radius) + 1
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (place[:, None] ** 2 + place**2 <= radius**2).double()
    taps = torch.exp(-(torch.arange(-1, 2, dtype=torch.float64) ** 2) / (2 * edge**2))
    soft = F.conv2d(inside[None, None], torch.outer(taps, taps)[None, None], padding=1)[0, 0]
    return soft / soft.sum()


def apply(x: Images, constants: tuple[float, float], noise: PerImage) -> Images:
    """Blur with the constants radius and softness of the edge, in pixels."""
    kernel = disk(*constants).to(x.dtype)
    reach, channels = len(kernel) // 2, x.shape[1]
    padded = F.pad(x, [reach] * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels)


CORRUPTION = Corruption("blur", ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)), apply)
