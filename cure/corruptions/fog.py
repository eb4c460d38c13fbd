"""Fog: a plasma fractal is added, and the result is scaled so that the brightest value of the image stays in range."""

import torch

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images, Tensor


def plasma(noise: PerImage, size: int, decay: float) -> Tensor:
    """Return (n, size, size) in [0, 1]: diamond-square on a 2^k torus; jitter r^2 U(-1, 1), r = 100 / decay^level."""
    draws = noise.each(lambda g: torch.rand(size * size - 1, generator=g, dtype=torch.float64)) * 2 - 1
    maps = torch.zeros(len(draws), size, size, dtype=torch.float64)
    step, reach, used = size, 100.0, 0
    while step >= 2:
        half, count = step // 2, size // step
        jitter = draws[:, used : used + 3 * count**2].reshape(-1, 3, count, count) * reach**2
        corners = maps[:, ::step, ::step].clone()
        pairs = corners + corners.roll(-1, 1)
        centres = (pairs + pairs.roll(-1, 2)) / 4 + jitter[:, 0]
        maps[:, half::step, half::step] = centres
        maps[:, ::step, half::step] = (centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)) / 4 + jitter[:, 1]
        maps[:, half::step, ::step] = (centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)) / 4 + jitter[:, 2]
        step, reach, used = half, reach / decay, used + 3 * count**2
    maps -= maps.amin(dim=(1, 2), keepdim=True)
    return maps / maps.amax(dim=(1, 2), keepdim=True)


def apply(x: Images, constants: tuple[float, float], noise: PerImage) -> Images:
    """Compute y = (x + s plasma) max(x) / (max(x) + s) with strength s and decay; the map covers the image."""
    strength, decay = constants
    h, w = x.shape[2:]
    size = 2 ** (max(h, w) - 1).bit_length()
    fog = plasma(noise, size, decay)[:, None, :h, :w].to(x.dtype)
    top = x.amax(dim=(1, 2, 3), keepdim=True)
    return (x + strength * fog) * top / (top + strength)


CORRUPTION = Corruption("weather", ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)), apply)
