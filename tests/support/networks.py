"""Networks for tests of the folded copy and of the diagnostics."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Behind(nn.Module):
    """A network behind a function of it and its images."""

    def __init__(self, net: nn.Module, way: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.way = net, way

    def forward(self, x: Tensor) -> Any:
        return self.way(self.net, x)


class Twice(nn.Module):
    """A network that uses the output of its convolution beside that of the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return (self.bn(h) + h).mean((2, 3))


def images(n: int = 4, channels: int = 3, size: int = 32) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def stirred(net: nn.Module) -> nn.Module:
    """Give batch norms random running statistics and affine weights, unlike those of a fresh network."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net.eval()
