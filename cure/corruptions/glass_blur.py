"""Glass blur: between two Gaussian blurs, every pixel takes the value of itself or of a neighbour above or left of it.

The original walks from the bottom right to the top left and is meant to swap a pixel with its neighbour, but its
assignment between array rows only overwrites the pixel. So the walk always reaches the neighbour later than the pixel,
and one walk equals one gather from the image before it. The first two rows and columns stay as they are.
"""

import torch

from cure.core.corruption import Corruption, truncated
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.data.image_filters import gaussian


def apply(x: Images, constants: tuple[float, int, int], noise: PerImage) -> Images:
    """Blur with the constants sigma, largest shift s (shifts are drawn from -s..s-1) and number of walks."""
    sigma, reach, walks = constants
    n, c, h, w = x.shape
    shifts = noise.each(lambda g: torch.randint(-reach, reach, (walks, 2, h, w), generator=g))
    shifts[..., : reach + 1, :] = 0
    shifts[..., : reach + 1] = 0
    rows, columns = torch.arange(h)[:, None], torch.arange(w)
    flat = truncated(gaussian(x, sigma)).reshape(n, c, h * w)
    for down, right in shifts.permute(1, 2, 0, 3, 4):
        place = ((rows + down) * w + columns + right).reshape(n, 1, h * w)
        flat = flat.gather(2, place.expand(n, c, h * w))
    return gaussian(flat.reshape(x.shape), sigma)


CORRUPTION = Corruption("blur", ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)), apply)
