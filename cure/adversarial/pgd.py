"""Attacks by projected gradient ascent (adversarial/pgd_loop.py): their objectives, their starts, and the network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from cure.adversarial.cuda_graphs import can_record, replayed
from cure.adversarial.pgd_loop import Objective, Stop, pgd_loop
from cure.core.method import Batch, Networks
from cure.core.noise import Noise
from cure.core.tensors import Images, Labels
from cure.nn.batchnorm import scope
from cure.nn.folded_copy import current_folded_copy
from cure.nn.losses import cross_entropy, kl, margin
from cure.settings.base import Search

ObjectiveOf = Callable[[nn.Module, Batch], Objective]


def ce_objective(net: nn.Module, batch: Batch) -> Objective:
    """Maximise CE(f(x'), y)."""
    return lambda z: cross_entropy(z, batch.y)


def margin_objective(net: nn.Module, batch: Batch) -> Objective:
    """Maximise the logit margin of the best wrong class (C&W, L-inf)."""
    return lambda z: margin(z, batch.y)


def kl_objective(net: nn.Module, batch: Batch) -> Objective:
    """Maximise KL(f(x) || f(x')), f(x) computed once and held constant (TRADES, Eq. 5)."""
    with torch.no_grad():
        p = net(batch.x)
    return lambda z: kl(p, z)


FIXED = (ce_objective, margin_objective, kl_objective)
"""Objectives of the network, the images and the labels alone, so that a graph may hold them."""


def pgd(
    net: nn.Module,
    batch: Batch,
    search: Search,
    objective: ObjectiveOf,
    *,
    stop: Stop | None = None,
    jitter: float = 0.0,
    each: dict[str, Any] | None = None,
) -> Images:
    """The last iterate of the ascent that `search` describes; gradients are taken to the images only.

    In eval mode the folded copy is attacked (nn/folded_copy.py), the same function in fewer operations.

    `each` may replace the search's eps, step and steps by values of each image or pixel, as `pgd_loop` takes them; the
    start remains the search's own.
    """
    bounds: dict[str, Any] = {"eps": search.eps, "step": search.step, "steps": search.steps} | (each or {})
    with scope(net, search.bn):
        attacked = current_folded_copy(net, batch.x) if search.bn == "eval" else net
        start = begin(batch.x, search, batch.noise)
        fixed = attacked is not net and objective in FIXED and stop is None and not jitter and not each
        if fixed and can_record(batch.x):
            return replayed(attacked, batch, start, objective, bounds)
        return pgd_loop(
            attacked,
            batch.x,
            start,
            objective(attacked, batch),
            stop=stop,
            jitter=(lambda x: batch.noise.normal(x, jitter)) if jitter else None,
            rows_independent=attacked is not net,
            **bounds,
        )


def misclassified(y: Labels) -> Stop:
    """The stop rule of an attack that wants errors alone: an image ends at its first wrong iterate."""
    return lambda z: z.argmax(dim=1) != y


def strongest(
    net: nn.Module, batch: Batch, search: Search, objective: ObjectiveOf, *, restarts: int, stop: Stop | None = None
) -> Images:
    """Of the last iterates of several ascents, for each image the one of the highest objective; one ascent's as it is.

    The objective is taken by one more forward of every last iterate, in the search's batch-norm scope.
    """
    found = [pgd(net, batch, search, objective, stop=stop) for _ in range(restarts)]
    if restarts == 1:
        return found[0]
    with torch.no_grad(), scope(net, search.bn):
        of_logits = objective(net, batch)
        best = torch.stack([of_logits(net(x_adv)) for x_adv in found]).argmax(dim=0)
    return torch.stack(found)[best, torch.arange(len(best), device=best.device)]


def pgd_on_error(nets: Networks, batch: Batch, hyper: Any) -> dict[str, Images]:
    """The slot `attack` of a method that attacks its student with `hyper.attack` on the cross-entropy."""
    return {"adv": pgd(nets.student, batch, hyper.attack, ce_objective)}


def begin(x: Images, search: Search, noise: Noise) -> Images:
    """The start: x plus U(-eps, eps), plus sigma N(0, 1), or x itself."""
    x_adv = x
    if search.start == "uniform":
        x_adv = x + noise.uniform(x, search.eps)
    elif search.start == "gaussian":
        assert search.sigma is not None
        x_adv = x + noise.normal(x, search.sigma)
    return x_adv.clamp(0, 1) if search.clip_start else x_adv
