"""Fingerprint a network by its outputs on a few fixed images, since equal weights may belong to two functions.

A mask in the forward pass or an attribute that scales the input is part of neither the state dict nor the module's
text.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from cure.evaluation.diagnostics.preserve_state import preserve_state
from cure.nn.batchnorm import scope
from cure.nn.losses import cross_entropy

IMAGES = 4
ROUNDING = 1e-3  # relative to the largest number: differences between threads, layouts and devices


def behaviour(net: nn.Module, shape: Sequence[int], device: torch.device) -> list[float]:
    """Return logits of fixed random images, and two numbers of each one's gradient.

    Args:
        net: any network; its state is preserved.
        shape: (c, h, w) of an image.
        device: the device of the network.

    Returns:
        The numbers; none for a network that draws at random or fails on such images.
    """
    try:
        once, again = (_numbers(net, shape, device) for _ in range(2))
    except Exception:  # external code may raise anything; the preflight checks report it
        return []
    return once if alike(once, again) else []


def alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two lists of `behaviour` come from one function, up to rounding."""
    if len(one) != len(other):
        return False
    largest = max(map(abs, (*one, *other)), default=0.0)
    return all(abs(a - b) <= ROUNDING * largest for a, b in zip(one, other, strict=True))


def _numbers(net: nn.Module, shape: Sequence[int], device: torch.device) -> list[float]:
    with preserve_state(net), scope(net, "eval"), torch.enable_grad():
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        x = torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
        z = net(x).float()
        (g,) = torch.autograd.grad(cross_entropy(z, z.argmax(1)).sum(), x, allow_unused=True)
        flat = torch.zeros(IMAGES, 1) if g is None else g.detach().float().cpu().flatten(1)
        ramp = torch.linspace(-1, 1, flat.shape[1])
        sizes = [flat.abs().sum(1), flat @ ramp]
        unit = max(float(sizes[0].max()), 1e-12)  # gradients count as much as logits, however small they are
        scale = max(float(z.detach().abs().max()), 1e-12)
        return [
            *(z.detach().cpu() / scale).flatten().nan_to_num().tolist(),
            *(torch.cat(sizes) / unit).nan_to_num().tolist(),
            float(np.log(scale)),
            float(np.log(unit)),
        ]
