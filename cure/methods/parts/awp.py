"""Adversarial weight perturbation: the gradient is taken at the weights of highest loss nearby.

    v_l = gamma ||w_l|| g_l / ||g_l||,   g = grad_w L(w)        for the weights of convolutions and linear layers
    w  <- w - [step of the optimiser at w + v]

Wu, Xia, Wang, "Adversarial Weight Perturbation Helps Robust Generalization", NeurIPS 2020, Eqs. (8) and (10), with one
ascent step. As released, the whole step, weight decay included, is taken at w + v, and v is subtracted afterwards.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from cure.core.method import AfterStep, Batch, CombineGradients, Gradients, Loss, Means, Networks, Terms
from cure.core.tensors import Tensor
from cure.nn.batchnorm import scope
from cure.nn.gradients import gradients, objective, reduce


def perturbing(losses: Loss, gamma: Callable[[Any, int], float]) -> tuple[Loss, CombineGradients, AfterStep]:
    """Return the slots loss, combine_gradients and after_step for these terms and gamma(hyper, epoch); 0 means off."""

    def loss(nets: Networks, batch: Batch, hyper: Any) -> Terms:
        # at w with batch statistics that leave the running ones alone: those move once, at w + v
        with scope(nets.student, "batch") if gamma(hyper, batch.position.epoch) else contextlib.nullcontext():
            return losses(nets, batch, hyper)

    def combine_gradients(nets: Networks, batch: Batch, hyper: Any, means: Means) -> Gradients | None:
        if not gamma(hyper, batch.position.epoch):
            return None
        perturb(nets, batch, means, gamma(hyper, batch.position.epoch))
        return gradients(objective(reduce(losses(nets, batch, hyper))), nets.weights())

    def restore(nets: Networks, batch: Batch, hyper: Any) -> None:
        wide, moves = batch.points.get("perturbation", ([], []))
        with torch.no_grad():
            if wide:
                torch._foreach_sub_(wide, moves)

    return loss, combine_gradients, restore


def perturb(nets: Networks, batch: Batch, means: Means, gamma: float) -> None:
    """Move w to w + v, with v from the `means` at w."""
    named = {name: w for name, w in nets.student.named_parameters() if w.ndim > 1}
    found, wide = gradients(objective(means), named, keep=False), list[Tensor](named.values())
    moves = [gamma * w.detach().norm() / (g.norm() + 1e-20) * g for w, g in zip(wide, found.values(), strict=True)]
    with torch.no_grad():
        torch._foreach_add_(wide, moves)
    batch.points["perturbation"] = (wide, moves)
