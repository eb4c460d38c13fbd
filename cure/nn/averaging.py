"""Averages of a network's weights over its training."""

import torch
from torch import nn

from cure.core.tensors import Tensor


def average_(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the average: decay * average + (1 - decay) * net, for parameters only; it keeps its own buffers."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)


def numbers(net: nn.Module) -> list[Tensor]:
    """Return every weight and running statistic of a network, not copied; integer counters are left out."""
    return [t for t in (*net.parameters(), *net.buffers()) if t.is_floating_point()]


def snapshot(step: int, per_epoch: int, begin: int, every: int) -> float | None:
    """Return the decay n / (n + 1) if a snapshot is due after this 0-based step and n precede it, else None.

    `average_` with this decay computes the equal mean of all snapshots. As in AR-AT's code, epoch e counts from step e
    * per_epoch. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
    """
    counted, first = step + per_epoch, -(-begin * per_epoch // every) * every
    taken = (counted - first) // every
    return taken / (taken + 1) if counted >= first and counted % every == 0 else None


def warmed(decay: float, step: int) -> float:
    """Return min(decay, 1 - 1/(step + 1)): early averages are short, so that they forget the initial weights."""
    return min(decay, 1 - 1 / (step + 1))
