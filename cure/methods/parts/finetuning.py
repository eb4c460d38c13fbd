"""Fine-tuning of one weight on clean images, in three treatments of batch norm, and the interpolation back.

    t(a) = (1 - a) t_start + a t_end                                                        RiFT, Eq. (9)

Zhu et al., "Improving Generalization of Adversarial Training via Robust Critical Fine-Tuning", ICCV 2023.
"""

import copy
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cure.core.method import Batch, Consolidation
from cure.core.tensors import Tensor
from cure.nn.batchnorm import scope
from cure.nn.freezing import alone
from cure.nn.losses import cross_entropy
from cure.settings.base import Count, Drops, MethodSettings, Momentum, NonNegative, Positive, at_epoch

State = dict[str, Tensor]
Variant = Literal["update", "freeze", "bn_only"]
VARIANTS: tuple[Variant, ...] = ("update", "freeze", "bn_only")
"""Statistics move with the weight, the weight moves alone, or the statistics move alone."""

TOLERANCE = 1e-9
"""In percent: 53.6 - 0.1 is more than 53.5 in floats."""

RESAMPLES = 1000
"""Resamples of the validation images, which estimate how often a choice among points is wrong."""


class Tuning(MethodSettings):
    """Settings of SGD on one weight."""

    epochs: Count
    lr: Positive
    momentum: Momentum
    weight_decay: NonNegative
    drops: Drops
    bn: Variant

    def rate(self, epoch: int) -> float:
        """Return the learning rate of a 1-based epoch."""
        return self.lr * at_epoch(self.drops, epoch, 1.0)


def tune(net: nn.Module, module: str, batches: list[Batch], hyper: Tuning, state: State | None, lr: float) -> float:
    """Run one epoch of SGD on one weight, with its momentum in `state`; return the mean loss."""
    weight = net.get_submodule(module).weight
    assert isinstance(weight, nn.Parameter)
    state, total = {} if state is None else state, torch.zeros((), dtype=torch.float64, device=weight.device)
    with scope(net, "eval" if hyper.bn == "freeze" else "train"), alone(net, weight):
        for batch in batches:
            value = cross_entropy(net(batch.x), batch.y).mean()
            (g,) = torch.autograd.grad(value, weight)
            total += value.detach()
            if hyper.bn != "bn_only":
                with torch.no_grad():
                    g = g + hyper.weight_decay * weight
                    state["momentum"] = hyper.momentum * state["momentum"] + g if "momentum" in state else g
                    weight.sub_(lr * state["momentum"])
    return float(total) / len(batches)


def fine_tuned(found: Consolidation, module: str, hyper: Tuning) -> tuple[State, int]:
    """Fine-tune the robust network; return the state of highest clean validation accuracy, and its epoch."""
    net, momentum = copy.deepcopy(found.nets["robust"]), State()
    best, state, at = -1.0, net.state_dict(), 0
    for epoch in range(1, hyper.epochs + 1):
        tune(net, module, list(found.batches(epoch)), hyper, momentum, hyper.rate(epoch))
        if (clean := found.score(net)["clean"]) > best:
            best, state, at = clean, {key: t.clone() for key, t in net.state_dict().items()}, epoch
    return state, at


def interpolated(start: State, end: State, a: float) -> State:
    """Return t(a) for floating tensors, batch-norm statistics included; counters are those of start."""
    return {key: torch.lerp(t, end[key], a) if t.is_floating_point() else t for key, t in start.items()}


def choose(clean: list[float], robust: list[float], slack: float) -> int:
    """Return the first point of highest clean accuracy with robust >= robust[0] - slack, all in percent."""
    allowed = [i for i, value in enumerate(robust) if value >= robust[0] - slack - TOLERANCE]
    return max(allowed, key=lambda i: (clean[i], -i))


def wrong_choice(
    clean: NDArray[np.float64], robust: NDArray[np.float64], chosen: int, slack: float
) -> dict[str, float]:
    """Estimate how often `choose` errs by the choice of images: a bootstrap over them, with all their draws.

    Args:
        clean: (points, n), 1 where an image is correct.
        robust: (points, n), the share of its draws in which it stays correct.
        chosen: the point that was chosen on all images.
        slack: that of `choose`, in percent.

    Returns:
        `another`, the share of resamples in which `choose` returns another point, and `weaker`, the share in which the
            chosen one is not allowed.
    """
    n = clean.shape[1]
    images = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    c, r = (100 * (images @ part.T) / n for part in (clean, robust))
    taken = np.array([choose(*points, slack) for points in zip(c.tolist(), r.tolist(), strict=True)])
    below = r[:, chosen] < r[:, 0] - slack - TOLERANCE
    return {"another": float((taken != chosen).mean()), "weaker": float(below.mean())}
