"""What a stranger's network needs of its images: a hair's distance from black and white, a copy of its own."""

from typing import Any

import torch
from torch import nn

from cure.core.tensors import Images

MARGIN = 1e-6  # from 0 and 1: float32 tells it from both, and no 8-bit level is as near to another


class KeptInside(nn.Module):
    """The network on m + (1 - 2 m) x, so that no pixel of an attack is exactly 0 or 1.

    A forward that clamps its input has no gradient there, so pixels and iterates clipped to there would never move.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Any:
        """x in [0, 1]."""
        return self.net(inside(x))


class OnACopy(nn.Module):
    """The network on a copy of its images, which it changes in place."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Any:
        """x in [0, 1]."""
        return self.net(x.clone())


def inside(x: Images) -> Images:
    """m + (1 - 2 m) x."""
    return torch.add(x * (1 - 2 * MARGIN), MARGIN)
