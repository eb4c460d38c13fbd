"""Impulse noise: a share of the values, channel by channel, becomes 0 or 1 with equal probability (salt and pepper)."""

import torch

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images


def apply(x: Images, share: float, noise: PerImage) -> Images:
    """Replace `share` of the values."""
    hit, salt = noise.each(lambda g: torch.rand(2, *x.shape[1:], generator=g)).unbind(1)
    return torch.where(hit <= share, (salt <= 0.5).to(x.dtype), x)


CORRUPTION = Corruption("noise", (0.01, 0.02, 0.03, 0.05, 0.07), apply)
