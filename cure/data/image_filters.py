"""Image operations that several corruptions share, on batches (n, c, h, w) in [0, 1], each image by itself."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from cure.core.corruption import truncated
from cure.core.tensors import Images, PerExample, Tensor


def grey(x: Images) -> Tensor:
    """Return (n, 1, h, w): 0.299 R + 0.587 G + 0.114 B; grey images are returned as they are."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)


def gaussian(x: Tensor, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Blur the last two axes with a Gaussian of `sigma` pixels, cut off at `truncate` sigmas."""
    axes = (x.ndim - 2, x.ndim - 1)
    return torch.from_numpy(gaussian_filter(x.numpy(), sigma, mode=mode, truncate=truncate, axes=axes))


def motion(x: Images, radius: int, sigma: float, degrees: PerExample) -> Images:
    """Blur along a line of 2 radius + 1 pixels with half a Gaussian, as ImageMagick does, truncated to 8 bits.

    y[p] = sum_i k_i x[p + ceil(i (cos a, sin a) - 1/2)], k_i ~ exp(-i^2 / (2 sigma^2)), with the border repeated.
    ImageMagick computes in 16 bits, so one or two of its values in a thousand differ from these by a level (as 8-bit
    PNG).
    """
    n, c, h, w = x.shape
    steps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    angle = torch.deg2rad(degrees.double())[:, None]
    right = (steps * angle.cos() - 0.5).ceil().long()[..., None]  # (n, steps, 1)
    down = (steps * angle.sin() - 0.5).ceil().long()[..., None]
    columns = (torch.arange(w) + right).clamp(0, w - 1)
    rows = (torch.arange(h) + down).clamp(0, h - 1)
    flat, blurred = x.reshape(n, c, h * w), torch.zeros(n, c, h * w, dtype=x.dtype)
    for i, weight in enumerate((weights / weights.sum()).tolist()):
        place = (rows[:, i, :, None] * w + columns[:, i, None, :]).reshape(n, 1, h * w)
        blurred += weight * flat.gather(2, place.expand(n, c, h * w))
    return truncated(blurred.reshape(x.shape))


def zoomed(x: Images, factor: float) -> Images:
    """Enlarge the middle ceil(side / factor) pixels to the side of x, linearly between their centres."""
    for axis in (2, 3):
        side = x.shape[axis]
        kept = int(np.ceil(side / factor))
        size = round(kept * factor)
        place = torch.arange(size, dtype=torch.float64) * ((kept - 1) / (size - 1))
        place = place[(size - side) // 2 :][:side].clamp(max=kept - 1)
        low = place.floor().long()
        high, first = (low + 1).clamp(max=kept - 1), (side - kept) // 2
        share = (place - low).to(x.dtype).view([-1 if a == axis else 1 for a in range(4)])
        x = torch.lerp(x.index_select(axis, first + low), x.index_select(axis, first + high), share)
    return x


def by_picture(x: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    """Apply `change` to every image as an 8-bit picture of Pillow."""
    levels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    levels = levels[..., 0] if x.shape[1] == 1 else levels
    changed = np.stack([np.asarray(change(Image.fromarray(picture))) for picture in levels])
    found = torch.from_numpy(changed).reshape(len(x), *x.shape[2:], x.shape[1])
    return found.permute(0, 3, 1, 2).to(x.dtype) / 255
