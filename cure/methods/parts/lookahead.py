"""Copy a network, take one more step on the copy, and measure the copy's accuracy."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from cure.adversarial.cuda_graphs import graphs
from cure.adversarial.pgd import ce_objective, misclassified, strongest
from cure.core.method import Batch
from cure.core.tensors import Tensor
from cure.nn.accuracy import right
from cure.nn.batchnorm import scope
from cure.runtime import distributed
from cure.settings.base import Count, MethodSettings, NonNegative, Positive, Search


class RewardSettings(MethodSettings):
    """Settings of a step's reward: c2 weights its accuracy under PGD on the cross-entropy, c3 its clean accuracy."""

    most: Positive  # upper bound of the loss in the reward
    c2: NonNegative
    c3: NonNegative
    weight_decay: NonNegative  # of the step
    attack: Search
    restarts: Count
    until_wrong: bool  # an image ends at its first misclassified iterate


def ahead(
    net: nn.Module, loss: Callable[[nn.Module], Tensor], lr: float, weight_decay: float
) -> tuple[nn.Module, Tensor]:
    """Return a copy of `net` after one SGD step without momentum on `loss`, and the loss before; `net` does not change.

    `loss` is a mean over the batch; with several ranks, a rank computes its part of the mean.
    """
    copied = copy.deepcopy(net)
    weights = [w for w in copied.parameters() if w.requires_grad]
    value = loss(copied)
    with torch.no_grad():
        for w, g in zip(weights, distributed.mean(torch.autograd.grad(value, weights)), strict=True):
            w.sub_(lr * (g + weight_decay * w))
    return copied, distributed.mean([value.detach()])[0]


def lookahead_reward(net: nn.Module, batch: Batch, loss: Callable[[nn.Module], Tensor], how: RewardSettings) -> Tensor:
    """Return min(loss, most) + c2 robust + c3 clean of a copy after one step on `loss`. Jia et al., CVPR 2022."""
    copied, value = ahead(net, loss, batch.position.lr, how.weight_decay)
    robust, clean = accuracies(copied, batch, how)
    total: Tensor = value.clamp(0, how.most) + how.c2 * robust + how.c3 * clean
    return total


def accuracies(net: nn.Module, batch: Batch, how: RewardSettings) -> tuple[Tensor, Tensor]:
    """Return (robust, clean) accuracy in [0, 1], on running statistics; the attack itself runs in training mode."""
    attack, stop = how.attack.model_copy(update={"bn": "train"}), misclassified if how.until_wrong else None
    with graphs(False):  # since the network exists for one step only
        x_adv = strongest(net, batch, attack, ce_objective, restarts=how.restarts, stop=stop)
    with scope(net, "eval"):
        own = [distributed.part(right(net, x, batch.y).to(x.dtype)) for x in (x_adv, batch.x)]
    robust, clean = distributed.mean(own)
    return robust, clean
