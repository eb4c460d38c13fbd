"""Brightness: a constant is added to the value V of hue, saturation, value; for grey images, to the pixel."""

import torch

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images


def apply(x: Images, shift: float, noise: PerImage) -> Images:
    """Raise V = max over channels. Hue and saturation stay, so all channels scale by V'/V; black becomes grey V'."""
    value = x.amax(dim=1, keepdim=True)
    raised = (value + shift).clamp(max=1)
    return torch.where(value > 0, x * (raised / value.clamp(min=1e-8)), raised)


CORRUPTION = Corruption("weather", (0.05, 0.1, 0.15, 0.2, 0.3), apply)
