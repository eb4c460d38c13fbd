"""Gaussian blur: convolution with a Gaussian of sigma pixels, the border repeated (one of CIFAR-10-C's extras)."""

import torch

from cure.core.corruption import Corruption
from cure.core.noise import Noise
from cure.core.tensors import Images


def apply(x: Images, sigma: float, noise: Noise) -> Images:
    """sigma in pixels."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(x.cpu().numpy(), sigma=(0, 0, sigma, sigma), mode="nearest", truncate=4.0)
    return torch.from_numpy(blurred).to(x.device)


CORRUPTION = Corruption("blur", (0.4, 0.6, 0.7, 0.8, 1.0), apply)
