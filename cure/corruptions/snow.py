"""Snow: flakes, smeared by motion blur, on an image that is mixed with a whitened version of itself."""

import torch

from cure.core.corruption import Corruption, truncated
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.data.image_filters import grey, motion, zoomed

Constants = tuple[float, float, float, float, int, float, float]


def apply(x: Images, constants: Constants, noise: PerImage) -> Images:
    """Add snow: y = k x + (1 - k) max(x, 1.5 grey(x) + 0.5) + flakes + flakes turned by 180 degrees.

    The constants are mean, sd, zoom and threshold of the flakes, radius and sigma of their blur, and the share k of x.
    The flakes fall within 45 degrees of the vertical.
    """
    mean, sd, zoom, threshold, radius, sigma, kept = constants
    flakes = zoomed(mean + noise.normal(x[:, :1], sd), zoom)
    flakes = truncated(torch.where(flakes < threshold, 0, flakes))
    degrees = noise.each(lambda g: torch.rand((), generator=g)) * 90 - 135
    flakes = motion(flakes, radius, sigma, degrees)
    pale = torch.maximum(x, grey(x) * 1.5 + 0.5)
    return kept * x + (1 - kept) * pale + flakes + flakes.flip(2, 3)


CORRUPTION = Corruption(
    "weather",
    (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    ),
    apply,
)
