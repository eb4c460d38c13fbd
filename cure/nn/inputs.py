"""Wrappers for external networks that clamp their images or change them in place."""

from typing import Any

import torch
from torch import nn

from cure.core.tensors import Images

MARGIN = 1e-6  # from 0 and 1: float32 resolves it, and it is far less than one 8-bit level


class KeptInside(nn.Module):
    """The network on m + (1 - 2 m) x with m = MARGIN, so that no pixel of an attack is exactly 0 or 1.

    A forward that clamps its input has no gradient at 0 and 1, so an attack could never move pixels that were clipped.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Any:
        """Return the output for images in [0, 1]."""
        return self.net(inside(x))


class OnACopy(nn.Module):
    """The network on a copy of its images, since it changes them in place."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Any:
        """Return the output for images in [0, 1]."""
        return self.net(x.clone())


def inside(x: Images) -> Images:
    """Return m + (1 - 2 m) x with m = MARGIN."""
    return torch.add(x * (1 - 2 * MARGIN), MARGIN)
