"""Adversarial weight perturbation: the gradient is taken where the weights hurt most.

    v_l = gamma ||w_l|| g_l / ||g_l||,   g = grad_w L(w)        for the weights of convolutions and linear layers
    w  <- w - [step of the optimiser at w + v]

Wu, Xia, Wang, "Adversarial Weight Perturbation Helps Robust Generalization", NeurIPS 2020, Eqs. (8) and (10), with one
ascent step, as released. As there, the whole step, weight decay included, is taken at w + v, and v is subtracted after.
"""

from collections.abc import Callable

import torch

from cure.core.batchnorm import scope
from cure.core.gradients import gradients, objective, reduce
from cure.core.method import Batch, Gradients, Means, Networks, Terms
from cure.core.tensors import Tensor

Losses = Callable[[], Terms]


def ahead_of_perturbing(nets: Networks, losses: Losses) -> Terms:
    """The terms at w, by batch statistics that leave the running ones alone: those move once, at w + v."""
    with scope(nets.student, "batch"):
        return losses()


def perturbed_gradient(nets: Networks, batch: Batch, losses: Losses, means: Means, gamma: float) -> Gradients:
    """grad L(w + v), v from the `means` at w. The student stays at w + v until `restore`."""
    wide: list[Tensor] = [w for w in nets.student.parameters() if w.ndim > 1]
    found = torch.autograd.grad(objective(means), wide, materialize_grads=True)
    moves = [gamma * w.detach().norm() / (g.norm() + 1e-20) * g for w, g in zip(wide, found, strict=True)]
    with torch.no_grad():
        torch._foreach_add_(wide, moves)
    batch.points["perturbation"] = (wide, moves)
    return gradients(objective(reduce(losses())), nets.weights())


def restore(batch: Batch) -> None:
    """w + v -> w, after the step of the optimiser."""
    if "perturbation" in batch.points:
        wide, moves = batch.points["perturbation"]
        with torch.no_grad():
            torch._foreach_sub_(wide, moves)
