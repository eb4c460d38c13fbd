"""SGD and its learning rate."""

import torch

from cure.core.method import Networks
from cure.settings.base import at_epoch
from cure.settings.sections import Schedule


def sgd(nets: Networks, schedule: Schedule) -> torch.optim.SGD:
    """SGD over every trained parameter; weight decay reaches biases and batch norms too, as in all the papers.

    On a GPU its update is one kernel; on a CPU, where that saves nothing, the plain one keeps the bits.
    """
    weights = list(nets.weights().values())
    return torch.optim.SGD(
        weights,
        fused=all(weight.is_cuda for weight in weights),
        lr=schedule.lr,
        momentum=schedule.momentum,
        nesterov=schedule.nesterov,
        weight_decay=schedule.weight_decay,
    )


def rate(schedule: Schedule, epoch: int) -> float:
    """The learning rate of a 1-based epoch: `lr` times the factor of the last drop reached."""
    return schedule.lr * at_epoch(schedule.drops, epoch, 1.0)


def epoch_of(share: float, epochs: int) -> int:
    """The last epoch within this share of a schedule, to the nearest; 0 is before the first."""
    return round(share * epochs)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
