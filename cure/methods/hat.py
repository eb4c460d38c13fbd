"""HAT: train on a point beyond the adversarial image, with a standard network's label of the adversarial image.

Rade, Moosavi-Dezfooli, "Reducing Excessive Margin to Achieve a Better Accuracy vs. Robustness Trade-off", ICLR 2022.
https://openreview.net/forum?id=Azh9QBQ4tR7

    L   = CE(f(x), y) + beta KL(f(x) || f(x')) + gamma CE(f(x_h), y_h)
    x_h = x + h (x' - x),   y_h = argmax_k N(x')_k

x' = PGD on KL(f(x) || f(x')). N is the naturally trained network, frozen and in eval mode. The authors train it for 50
epochs; here the section `pretrain` sets its training. As released, x_h is not clipped to [0, 1], and y_h is N's label
of x', not of x_h. x, x' and x_h are three training-mode forwards in this order, so the running statistics end with
those of x_h. The release also has a form around plain AT, which its commands do not use and this code leaves out.
"""

import torch

from cure.adversarial.pgd import kl_objective, pgd
from cure.core.method import Batch, Method, Networks, Terms
from cure.core.tensors import Tensor
from cure.methods.parts.base_losses import TRADES
from cure.nn.losses import cross_entropy
from cure.settings.base import MethodSettings, NonNegative, Positive, Search


class Hyper(MethodSettings):
    """Settings: h, beta, gamma and the attack."""

    h: Positive
    beta: NonNegative
    gamma: NonNegative
    attack: Search


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Tensor]:
    """Return x', x_h and y_h."""
    x_adv = pgd(nets.student, batch, hyper.attack, kl_objective)
    with torch.no_grad():
        y_helper = nets.natural(x_adv).argmax(dim=1)
    return {"adv": x_adv, "helper": batch.x + hyper.h * (x_adv - batch.x), "helper_label": y_helper}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return TRADES' two terms, then CE(f(x_h), y_h)."""
    terms = TRADES.loss(nets, batch, hyper.beta)
    helper = nets.student(batch.points["helper"])
    return terms | {"helper": (hyper.gamma, cross_entropy(helper, batch.points["helper_label"]))}


METHOD = Method(
    cite="Rade and Moosavi-Dezfooli 2022",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    teachers=("natural",),
)
