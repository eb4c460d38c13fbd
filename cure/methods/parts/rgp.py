"""Robust gradient prominence: the weights that a step may move, and their gradient.

    RGP(w) = alpha |d CE(f(x), y) / dw| + (1 - alpha) |d CE(f(x'), y) / dw|                         Eq. (6)
    w is updated by grad L where RGP(w) reaches the p-th percentile of its tensor, else its gradient is zero

A zero gradient does not hold a weight: SGD still adds weight decay, and the momentum of earlier steps still moves it.
`apply: grad`, the paper's algorithm, accepts this; `apply: update` restores the weight after the step.

Gowda et al., "Conserve-Update-Revise ...", ICLR 2024. The means given here are those of the terms `natural`,
`adversarial` (CE on x'), `divergence` and the other terms of L.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field

from cure.core.method import Batch, Gradients, Means, Networks
from cure.errors import UserError
from cure.nn.gradients import Weights, gradients, objective, separate
from cure.nn.masks import applied, chosen, masks
from cure.settings.base import MethodSettings, Number, Share


class Prominence(MethodSettings):
    """Settings of the score and the mask."""

    alpha: Share  # weight of the natural gradient in the score
    p: Annotated[Number, Field(ge=0, le=100)]  # percent of each tensor that is conserved
    score: Literal["abs", "signed", "total", "total_signed"]  # Eq. (6) | released soft | |grad L| | grad L
    score_term: Literal["ce", "kl"]  # the adversarial loss in the score
    scope: Literal["layer", "global"]  # one threshold per tensor, or one for the network
    include: list[str]  # patterns of the parameters that the mask reaches
    exclude: list[str]
    apply: Literal["grad", "update"]  # zero the gradient (momentum and decay still move w), or restore the weight


def prominence(means: Means, weights: Weights, masked: Weights, hyper: Prominence) -> tuple[Gradients, Gradients]:
    """Return each masked weight's score, and grad L, in two backward passes, or three for Eq. (6)'s absolute values."""
    term = {"ce": "adversarial", "kl": "divergence"}[hyper.score_term]
    if hyper.score == "abs":
        alone, total = separate(means, ["natural", term], weights)
        natural, robust = (torch._foreach_abs([alone[name][n] for n in masked]) for name in ("natural", term))
        torch._foreach_mul_(natural, hyper.alpha)
        torch._foreach_mul_(robust, 1 - hyper.alpha)
        torch._foreach_add_(natural, robust)
        return dict(zip(masked, natural, strict=True)), total
    total = gradients(objective(means), weights)
    if hyper.score == "signed":  # linear in the gradients, so one backward pass of the weighted losses
        weighted = hyper.alpha * means["natural"][1] + (1 - hyper.alpha) * means[term][1]
        return gradients(weighted, masked), total
    size: Callable[[torch.Tensor], torch.Tensor] = torch.abs if hyper.score == "total" else torch.clone
    return {n: size(total[n]) for n in masked}, total


def masked_gradient(nets: Networks, batch: Batch, hyper: Prominence, means: Means) -> Gradients | None:
    """Return M * grad L, M = 1 where the score reaches its percentile, or None (plain backward pass) without a mask."""
    if not hyper.include:
        return None
    weights = nets.weights()
    masked = {name: weights[name] for name in chosen(list(weights), hyper.include, hyper.exclude)}
    if not masked:
        raise UserError(
            f"include {hyper.include} and exclude {hyper.exclude} leave no weight of the network to the mask"
        )
    score, total = prominence(means, weights, masked, hyper)
    keep = masks(score, hyper.p / 100, hyper.scope)
    batch.show("rgp", {"score": score, "mask": keep, "total": total})
    if hyper.apply == "update":
        batch.points["frozen"] = [(w, keep[n], w.detach().clone()) for n, w in masked.items()]
    return applied(total, keep)


def restore_frozen(batch: Batch) -> None:
    """Undo the optimiser's step, momentum and decay included, for weights that `apply: update` froze."""
    with torch.no_grad():
        for weight, moved, before in batch.points.get("frozen", []):
            weight.copy_(torch.where(moved, weight, before))
