"""Saturate: the saturation S of hue, saturation, value is scaled and shifted (one of CIFAR-10-C's extras).

Grey images have no saturation and do not change.
"""

import torch

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images


def apply(x: Images, constants: tuple[float, float], noise: PerImage) -> Images:
    """Scale and shift S. Hue and V = max over channels stay, so V - x scales by S'/S; grey pixels turn red."""
    if x.shape[1] == 1:
        return x
    scale, shift = constants
    value = x.amax(dim=1, keepdim=True)
    below = value - x
    spread = below.amax(dim=1, keepdim=True)
    saturation = torch.where(spread > 0, spread / value.clamp(min=1e-8), 0)
    wanted = (saturation * scale + shift).clamp(0, 1)
    red = x.new_tensor([0, 1, 1])[:, None, None]
    return value - wanted * value * torch.where(spread > 0, below / spread.clamp(min=1e-8), red)


CORRUPTION = Corruption("digital", ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)), apply)
