"""SGD and the schedules of its learning rate.

    drops      lr d(t),  d the factor of the last drop that epoch t has reached, 1 before the first
    linear     lr d(t),  d linear between the drops, and from 1 at epoch 0 to the first
    cosine     lr (1 + cos(pi t / (epochs + 1))) / 2
    one cycle  first lr -> lr -> last lr over the steps of the training, along half a cosine each

t counts epochs from 1.
"""

import math
from typing import Any

import torch

from cure.core.method import Networks
from cure.settings.base import at_epoch, between
from cure.settings.training import OneCycle, Schedule


def sgd(nets: Networks, schedule: Schedule) -> torch.optim.SGD:
    """Build SGD over every trained parameter. Weight decay includes biases and batch norms, as in all the papers.

    A network with a weight decay of its own gets its own parameter group. On a GPU, the fused optimiser updates each
    group in one kernel. On a CPU it would save nothing, so the plain one is used and results stay the same bit by bit.
    """
    shared = [name for name in nets.trained if name not in nets.decays]
    groups: list[dict[str, Any]] = [{"params": list(nets.weights(*shared).values())}]
    for name, decay in nets.decays.items():
        groups.append({"params": list(nets.weights(name).values()), "weight_decay": decay})
    return torch.optim.SGD(
        groups,
        fused=all(weight.is_cuda for weight in nets.weights().values()),
        lr=schedule.lr,
        momentum=schedule.momentum,
        nesterov=schedule.nesterov,
        weight_decay=schedule.weight_decay,
    )


def rate(schedule: Schedule, epoch: int, step: int = 0, steps_per_epoch: int = 1) -> float:
    """Return the learning rate at a 0-based step of a 1-based epoch. Only one cycle changes it within an epoch."""
    if isinstance(schedule.lr_schedule, OneCycle):
        return _on_cycle(schedule, epoch, step, steps_per_epoch)[0]
    if schedule.lr_schedule == "cosine":
        return schedule.lr * (1 + math.cos(math.pi * epoch / (schedule.epochs + 1))) / 2
    if schedule.lr_schedule == "linear":
        return schedule.lr * between({0: 1.0, **schedule.drops}, epoch)
    return schedule.lr * at_epoch(schedule.drops, epoch, 1.0)


def rate_and_momentum(schedule: Schedule, epoch: int, step: int, steps_per_epoch: int) -> tuple[float, float]:
    """Return the learning rate and the momentum of a step. Only one cycle changes the momentum."""
    if isinstance(schedule.lr_schedule, OneCycle):
        return _on_cycle(schedule, epoch, step, steps_per_epoch)
    return rate(schedule, epoch), schedule.momentum


def _on_cycle(schedule: Schedule, epoch: int, step: int, steps_per_epoch: int) -> tuple[float, float]:
    """Return (learning rate, momentum) of a step; the peak is where PyTorch's OneCycleLR has it."""
    cycle, steps = schedule.lr_schedule, steps_per_epoch * schedule.epochs
    assert isinstance(cycle, OneCycle)
    at, peak = (epoch - 1) * steps_per_epoch + step, cycle.rise * steps - 1
    if at < peak:
        height = _half_cosine(cycle.first, 1.0, at / peak)
        return schedule.lr * height, _half_cosine(cycle.high_momentum, cycle.low_momentum, at / peak)
    share = (at - peak) / (steps - 1 - peak)
    return schedule.lr * _half_cosine(1.0, cycle.last, share), _half_cosine(
        cycle.low_momentum, cycle.high_momentum, share
    )


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def epoch_of(share: float, epochs: int) -> int:
    """Return the epoch at this share of a schedule, rounded to the nearest; 0 means before the first epoch."""
    return round(share * epochs)


def set_rate(optimizer: torch.optim.Optimizer, lr: float, momentum: float) -> None:
    """Set learning rate and momentum in every parameter group."""
    for group in optimizer.param_groups:
        group["lr"], group["momentum"] = lr, momentum
