"""A network one step ahead of itself."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from cure.core.tensors import Tensor


def ahead(
    net: nn.Module, loss: Callable[[nn.Module], Tensor], lr: float, weight_decay: float
) -> tuple[nn.Module, Tensor]:
    """(a copy of `net` after one SGD step without momentum on `loss`, the loss before it); `net` stays as it was."""
    copied = copy.deepcopy(net)
    weights = [w for w in copied.parameters() if w.requires_grad]
    value = loss(copied)
    with torch.no_grad():
        for w, g in zip(weights, torch.autograd.grad(value, weights), strict=True):
            w.sub_(lr * (g + weight_decay * w))
    return copied, value.detach()
