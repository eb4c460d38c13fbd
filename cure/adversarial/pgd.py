"""PGD attacks on a network: their objectives, their starts, and the copy that is attacked (the loop is pgd_loop.py)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from cure.adversarial.cuda_graphs import Fixed, Inputs, ascended
from cure.adversarial.pgd_loop import Objective, Stop, pgd_loop
from cure.core.method import Batch, Networks
from cure.core.noise import Noise
from cure.core.tensors import Flags, Images, Logits, Tensor
from cure.nn.batchnorm import scope
from cure.nn.folding.folded_copy import current_folded_copy
from cure.nn.losses import cross_entropy, kl, margin
from cure.settings.base import Search

ObjectiveOf = Callable[[nn.Module, Batch], Objective]
StopOf = Callable[[Batch], Stop]


def ce_objective(net: nn.Module, batch: Batch) -> Objective:
    """Return the objective CE(f(x'), y)."""
    return lambda z: cross_entropy(z, batch.y)


def margin_objective(net: nn.Module, batch: Batch) -> Objective:
    """Return the logit margin of the best wrong class as the objective (C&W, L-inf)."""
    return lambda z: margin(z, batch.y)


def kl_objective(net: nn.Module, batch: Batch) -> Objective:
    """Return the objective KL(f(x) || f(x')), with f(x) computed once and held constant (TRADES, Eq. 5)."""
    with torch.no_grad():
        p = net(batch.x)
    return lambda z: kl(p, z)


def misclassified(batch: Batch) -> Stop:
    """Return the stop rule of an attack that only needs errors: an image ends at its first misclassified iterate."""

    def wrong(z: Logits) -> Flags:
        return z.argmax(dim=1) != batch.y

    return wrong


FIXED = (None, ce_objective, margin_objective, kl_objective, misclassified)
"""Objectives and stop rules that a graph may record, in addition to those that are `Fixed`."""


def pgd(
    net: nn.Module,
    batch: Batch,
    search: Search,
    objective: ObjectiveOf,
    *,
    stop: StopOf | None = None,
    jitter: float = 0.0,
    each: dict[str, Any] | None = None,
    given: dict[str, Tensor] | None = None,
) -> Images:
    """Attack with PGD and return the last iterate, (n, c, h, w); gradients are taken with respect to the images only.

    In eval mode the folded copy is attacked (nn/folding/folded_copy.py), the same function in fewer operations.

    Args:
        search: eps, step, number of steps, start and batch-norm scope.
        objective: the quantity to maximise, such as `ce_objective`.
        stop: rule that ends images early; None: all take every step.
        jitter: standard deviation of Gaussian noise that is added after each step, before clipping.
        each: eps, step, steps per image or pixel, as `pgd_loop` takes them; the start remains that of `search`.
        given: further tensors, which the objective reads from `batch.points`.
    """
    bounds: dict[str, Any] = {"eps": search.eps, "step": search.step, "steps": search.steps} | (each or {})
    with scope(net, search.bn):
        attacked = current_folded_copy(net, batch.x) if search.bn == "eval" else net
        inputs = {"x": batch.x, "y": batch.y, "start": begin(batch.x, search, batch.noise)}
        if jitter:
            inputs["jitter"] = torch.stack([batch.noise.normal(batch.x, jitter) for _ in range(bounds["steps"])])
        tensors = {name: value for name, value in bounds.items() if isinstance(value, Tensor)}
        numbers = {name: value for name, value in bounds.items() if name not in tensors}

        def ascent(t: Inputs) -> Images:
            points = batch.points | {name: t[f"given {name}"] for name in given or {}}
            still = dataclasses.replace(batch, x=t["x"], y=t["y"], points=points)
            return pgd_loop(
                attacked,
                still.x,
                t["start"],
                objective(attacked, still),
                stop=stop(still) if stop else None,
                jitter=t.get("jitter"),
                rows_independent=attacked is not net,
                **(numbers | {name: t[name] for name in tensors}),
            )

        inputs |= tensors | {f"given {name}": t for name, t in (given or {}).items()}
        fixed = all(part in FIXED or isinstance(part, Fixed) for part in (objective, stop))
        return ascended(attacked, (objective, stop, tuple(numbers.items())) if fixed else None, inputs, ascent)


def strongest(
    net: nn.Module, batch: Batch, search: Search, objective: ObjectiveOf, *, restarts: int, stop: StopOf | None = None
) -> Images:
    """Return for each image the last iterate with the highest objective among several restarts.

    One more forward of every last iterate computes the objective, in the search's batch-norm scope. With one restart,
    its result is returned as it is.
    """
    found = [pgd(net, batch, search, objective, stop=stop) for _ in range(restarts)]
    if restarts == 1:
        return found[0]
    with torch.no_grad(), scope(net, search.bn):
        of_logits = objective(net, batch)
        best = torch.stack([of_logits(net(x_adv)) for x_adv in found]).argmax(dim=0)
    return torch.stack(found)[best, torch.arange(len(best), device=best.device)]


def pgd_on_error(nets: Networks, batch: Batch, hyper: Any) -> dict[str, Images]:
    """Fill the slot `attack` of a method that attacks its student with `hyper.attack` on the cross-entropy."""
    return {"adv": pgd(nets.student, batch, hyper.attack, ce_objective)}


def begin(x: Images, search: Search, noise: Noise) -> Images:
    """Return the start: x plus U(-eps, eps), x plus sigma N(0, 1), or x itself."""
    x_adv = x
    if search.start == "uniform":
        x_adv = x + noise.uniform(x, search.eps)
    elif search.start == "gaussian":
        assert search.sigma is not None
        x_adv = x + noise.normal(x, search.sigma)
    return x_adv.clamp(0, 1) if search.clip_start else x_adv
