"""Weight averages of a network over its own training."""

import torch
from torch import nn

from cure.core.tensors import Tensor


def average_(average: nn.Module, net: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * net, parameters only; buffers stay the average's own."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)


def numbers(net: nn.Module) -> list[Tensor]:
    """Return every weight and running statistic of a network, in place; counters of batches are none."""
    return [t for t in (*net.parameters(), *net.buffers()) if t.is_floating_point()]


def snapshot(step: int, per_epoch: int, begin: int, every: int) -> float | None:
    """n / (n + 1) if a snapshot is due after this 0-based step and n were taken before, else None.

    `average_` with this decay makes an equal mean of all of them. As AR-AT's authors do, epoch e counts from step
    e * per_epoch. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
    """
    counted, first = step + per_epoch, -(-begin * per_epoch // every) * every
    taken = (counted - first) // every
    return taken / (taken + 1) if counted >= first and counted % every == 0 else None


def warmed(decay: float, step: int) -> float:
    """min(decay, 1 - 1/(step + 1)): the first averages are short, so that the start is forgotten."""
    return min(decay, 1 - 1 / (step + 1))
