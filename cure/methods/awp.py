"""AWP: adversarial training whose weights are adversarially perturbed as well.

Wu, Xia, Wang, "Adversarial Weight Perturbation Helps Robust Generalization", NeurIPS 2020.
https://arxiv.org/abs/2004.05884

    min_w max_{||v_l|| <= gamma ||w_l||} L_base(w + v; x, x', y)        AT-AWP, TRADES-AWP, MART-AWP by the base

x' is the base's, found at w. v is one normalised gradient step per layer (methods/parts/awp.py). Before epoch `begin`
the base trains alone. The released code uses a proxy network, a copy that shares this batch's statistics. Here the
student itself is moved and moved back.

The released TRADES-AWP perturbs from epoch 10 on (preset `trades`) and forwards x', x and x again. The order is kept;
the second x is `forward_again`. The released AT-AWP is built on Rice et al.'s AT. Its drops at epochs 101 and 151 are
in the preset `at`; `at_rice` also attacks in training mode and has Rice et al.'s two forwards (methods/parts/rice.py).
Like that AT, it normalises the input and pads by reflection (`models.NAME.normalise`, `augment.padding` of the data
set). It also attacks the first batch of most epochs in eval mode, which is not imitated.
"""

from cure.core.method import Batch, Method, Networks, Terms
from cure.core.tensors import Images
from cure.methods.parts.awp import perturbing
from cure.methods.parts.base_losses import BASES, WrappedLoss, pgd_on_base
from cure.methods.parts.rice import RiceForwards, forward_clean, forward_final
from cure.settings.base import DelayedSettings, NonNegative


class Hyper(WrappedLoss, RiceForwards, DelayedSettings):
    """Settings: gamma and the base; weights are first perturbed in epoch `begin`."""

    gamma: NonNegative


def gamma(hyper: Hyper, epoch: int) -> float:
    """Return gamma of an epoch, 0 before `begin`."""
    return hyper.gamma if epoch >= hyper.begin else 0.0


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x' of the base."""
    found = pgd_on_base(nets, batch, hyper)
    forward_final(nets, found["adv"], hyper)
    return found


def terms(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the base's terms at the current weights; x' is forwarded first, as released."""
    return BASES[hyper.base].loss(nets, batch, hyper.weight, forward_again=hyper.forward_again, adv_first=True)


loss, combine_gradients, restore = perturbing(terms, gamma)


def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Restore w from w + v."""
    restore(nets, batch, hyper)
    forward_clean(nets, batch, hyper)


METHOD = Method(
    cite="Wu et al. 2020, Eqs. (8), (10)",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    combine_gradients=combine_gradients,
    after_step=after_step,
)
