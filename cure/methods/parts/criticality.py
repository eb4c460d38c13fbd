"""Module robust criticality: the rise of the robust loss when one module's weights move within a relative ball.

    MRC_i = max_{||d||_2 <= eps ||w_i||_2} R(w_i + d) - R(w_i),   R = mean CE on adversarial images that stay fixed

Zhu et al., "Improving Generalization of Adversarial Training via Robust Critical Fine-Tuning", ICCV 2023, Eq. (2).
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from cure.core.tensors import Images, Labels, Tensor
from cure.errors import UserError
from cure.nn.batchnorm import scope
from cure.nn.freezing import alone
from cure.nn.losses import cross_entropy

Fixed = list[tuple[Images, Labels]]
Rule = Literal["max", "stop"]
"""`max`, as released: the highest loss of all epochs. `stop`, Algorithm 1: that of the first epoch that leaves the
ball."""


@dataclass
class Criticality:
    """The result of the ascent on one module: MRC, drop of accuracy, and each epoch's loss and distance."""

    value: float
    drop: float  # of accuracy, at the epoch of the highest loss
    losses: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)


def modules(net: nn.Module) -> list[str]:
    """Return every convolution and linear layer; only their `weight` counts, not their bias or a batch norm."""
    return [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def robust_loss(net: nn.Module, fixed: Fixed) -> tuple[float, float]:
    """Return (mean CE, accuracy) on fixed images."""
    total, right, count = 0.0, 0, 0
    with torch.no_grad():
        for x, y in fixed:
            z = net(x)
            total += float(cross_entropy(z, y).sum())
            right += int((z.argmax(dim=1) == y).sum())
            count += len(y)
    return total / count, right / count


def criticality(
    net: nn.Module, fixed: Fixed, module: str, *, eps: float, epochs: int, lr: float, rule: Rule
) -> Criticality:
    """Compute the MRC of one module by plain gradient ascent, projected once per epoch; the network is restored."""
    weight = net.get_submodule(module).weight
    assert isinstance(weight, nn.Parameter)
    before = weight.detach().clone()
    with scope(net, "eval"), alone(net, weight):
        base, accuracy = robust_loss(net, fixed)
        found = Criticality(-math.inf, 0.0)
        try:
            for _ in range(epochs):
                found.distances.append(_ascend(net, fixed, weight, before, eps, lr))
                loss, right = robust_loss(net, fixed)
                if not math.isfinite(loss):
                    raise UserError(f"criticality of {module}: the loss became {loss}; lower the ascent's lr")
                found.losses.append(loss)
                if rule == "stop" or loss - base > found.value:
                    found.value, found.drop = loss - base, accuracy - right
                if rule == "stop" and found.distances[-1] > eps:
                    break
        finally:
            with torch.no_grad():
                weight.copy_(before)
    return found


def _ascend(net: nn.Module, fixed: Fixed, weight: nn.Parameter, before: Tensor, eps: float, lr: float) -> float:
    """Run one epoch of ascent and the projection; return the relative distance before it."""
    for x, y in fixed:
        (g,) = torch.autograd.grad(cross_entropy(net(x), y).mean(), weight)
        with torch.no_grad():
            weight.add_(lr * g)
    with torch.no_grad():
        moved = weight - before
        distance = float(moved.norm() / before.norm())
        if distance > eps:
            weight.copy_(before + eps * before.norm() * moved / moved.norm())
    return distance
