"""AWP: adversarial training whose weights are perturbed against it as well.

Wu, Xia, Wang, "Adversarial Weight Perturbation Helps Robust Generalization", NeurIPS 2020.
https://arxiv.org/abs/2004.05884

    min_w max_{||v_l|| <= gamma ||w_l||} L_base(w + v; x, x', y)        AT-AWP, TRADES-AWP, MART-AWP by the base

x' is the base's, found at w. v is one normalised gradient step per layer (core/awp.py). Before epoch `begin` the base
trains alone. The released proxy network is a copy that shares this batch's statistics; here the student itself is
moved and moved back.
"""

from typing import Literal

from cure.core import awp
from cure.core.bases import BASES, pgd_on_base
from cure.core.gradients import gradients, objective
from cure.core.method import Batch, Gradients, Means, Method, Networks, Terms
from cure.core.settings import Count, NonNegative, Search, Settings


class Hyper(Settings):
    """gamma, when it comes in, and the base with its weight (beta or lambda; unused by `at`)."""

    gamma: NonNegative
    begin: Count  # 1-based epoch of the first perturbation
    base: Literal["at", "trades", "mart"]
    weight: NonNegative
    attack: Search


def base_loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """The base's terms at the weights as they are."""
    return BASES[hyper.base].loss(nets, batch, hyper.weight)


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """L_base at w, whose gradient gives v."""
    if batch.epoch < hyper.begin:
        return base_loss(nets, batch, hyper)
    return awp.ahead_of_perturbing(nets, lambda: base_loss(nets, batch, hyper))


def combine(nets: Networks, batch: Batch, hyper: Hyper, means: Means) -> Gradients:
    """grad L_base at w + v."""
    if batch.epoch < hyper.begin:
        return gradients(objective(means), nets.weights())
    return awp.perturbed_gradient(nets, batch, lambda: base_loss(nets, batch, hyper), means, hyper.gamma)


def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Take v back."""
    awp.restore(batch)


METHOD = Method("Wu et al. 2020, Eqs. (8), (10)", Hyper, loss, pgd_on_base, combine, after_step)
