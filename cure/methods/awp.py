"""AWP: adversarial training whose weights are perturbed against it as well.

Wu, Xia, Wang, "Adversarial Weight Perturbation Helps Robust Generalization", NeurIPS 2020.
https://arxiv.org/abs/2004.05884

    min_w max_{||v_l|| <= gamma ||w_l||} L_base(w + v; x, x', y)        AT-AWP, TRADES-AWP, MART-AWP by the base

x' is the base's, found at w. v is one normalised gradient step per layer (methods/parts/awp.py). Before epoch `begin`
the base trains alone. The released proxy network is a copy that shares this batch's statistics; here the student itself
is moved and moved back.
"""

from cure.core.method import Batch, Method, Networks, Terms
from cure.methods.parts.awp import perturbing
from cure.methods.parts.base_losses import BASES, Wrapped, pgd_on_base
from cure.settings.base import DelayedSettings, NonNegative


class Hyper(Wrapped, DelayedSettings):
    """gamma and the base; weights are first perturbed in epoch `begin`."""

    gamma: NonNegative


def gamma(hyper: Hyper, epoch: int) -> float:
    """gamma of an epoch."""
    return hyper.gamma if epoch >= hyper.begin else 0.0


def terms(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """The base's terms at the weights as they are."""
    return BASES[hyper.base].loss(nets, batch, hyper.weight)


loss, combine_gradients, restore = perturbing(terms, gamma)

METHOD = Method(
    cite="Wu et al. 2020, Eqs. (8), (10)",
    hyper=Hyper,
    loss=loss,
    attack=pgd_on_base,
    combine_gradients=combine_gradients,
    after_step=restore,
)
