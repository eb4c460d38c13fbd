"""Gradients of the weighted terms of an objective, with as few backward passes as linearity allows."""

import torch
from torch import nn

from cure.core.method import Gradients, Means, Terms
from cure.core.tensors import Tensor
from cure.runtime import distributed

Weights = dict[str, nn.Parameter]


def reduce(terms: Terms) -> Means:
    """Return the mean of each term over the batch, or this rank's part of it, in fp32 or better."""

    def mean(values: Tensor) -> Tensor:
        return distributed.part(values.to(torch.promote_types(values.dtype, torch.float32)))

    return {name: (weight, mean(values)) for name, (weight, values) in terms.items()}


def objective(means: Means) -> Tensor:
    """Return sum_t weight_t * mean_t over the terms of non-zero weight."""
    return torch.stack([weight * mean for weight, mean in means.values() if weight]).sum()


def gradients(value: Tensor, weights: Weights, *, keep: bool = True) -> Gradients:
    """Return d value / d w for every w, which is zero where value does not depend on w.

    With several ranks, return the gradient of the mean over all of them, so that later rules never use one rank's
    rows alone.

    Args:
        value: scalar.
        weights: the w by name.
        keep: whether the graph is kept for further calls.
    """
    if not weights:
        return {}
    found = torch.autograd.grad(value, list(weights.values()), retain_graph=keep, materialize_grads=True)
    return dict(zip(weights, distributed.mean(found), strict=True))


def separate(means: Means, separately: list[str], weights: Weights) -> tuple[dict[str, Gradients], Gradients]:
    """Return the unweighted gradient of each term in `separately`, and the gradient of the whole objective.

    grad L = sum_{t separately} weight_t grad_t + grad(rest), so the objective never needs a pass of its own.
    """
    alone = {name: gradients(means[name][1], weights) for name in separately}
    rest = {name: term for name, term in means.items() if name not in separately and term[0]}
    total = gradients(objective(rest), weights) if rest else {n: torch.zeros_like(w) for n, w in weights.items()}
    for name in separately:
        if (factor := means[name][0]) and total:
            scaled = torch._foreach_mul([alone[name][key] for key in total], factor)
            total = dict(zip(total, torch._foreach_add(list(total.values()), scaled), strict=True))
    return alone, total
