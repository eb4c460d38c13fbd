"""Images, noise and entries for the tests of corruptions."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor

from cure import catalogue
from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.data.generated_corruptions import pictures

NAMES = catalogue.names("corruptions")
SEVERITIES = (1, 2, 3, 4, 5)
SHAPES = [(3, 32, 32), (1, 28, 28), (1, 8, 8)]


def load(name: str) -> Corruption:
    found: Corruption = catalogue.entry("corruptions", name).CORRUPTION
    return found


def able(name: str) -> Corruption:
    """Return the entry, or skip the test if its optional packages are not installed."""
    corruption = load(name)
    for module in corruption.needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{name} needs {module}, of the optional extra `corruptions`")
    return corruption


def images(shape: tuple[int, int, int] = (3, 32, 32), n: int = 5, seed: int = 0) -> Tensor:
    """Return 8-bit images with structure: a gradient, a grating, some noise, and a black and a white corner."""
    draws, (channels, h, w) = torch.Generator().manual_seed(seed), shape
    ramp = torch.linspace(40, 170, h)[:, None] + torch.linspace(0, 30, w)
    grating = 30 * (torch.arange(w) // 3 % 2)
    x = (ramp + grating + 20 * torch.randn(n, channels, h, w, generator=draws)).clamp(0, 255).round()
    x[:, :, : h // 4, : w // 4], x[:, :, -h // 4 :, -w // 4 :] = 0, 255
    return x / 255


def noise(rows: Tensor | None = None, seed: int = 0) -> PerImage:
    return PerImage(seed, torch.arange(5) if rows is None else rows)


def corrupt(corruption: Corruption, x: Tensor, severity: int, draws: PerImage | None = None) -> Tensor:
    return corruption(x, severity, draws or noise(torch.arange(len(x))), pictures(corruption))


def levels(x: Tensor) -> np.ndarray:
    """Return 8-bit images as (n, h, w, c) uint8."""
    return (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
