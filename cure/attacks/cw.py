"""C&W as in tables of L-inf results: PGD on the logit margin max_{k != y} z_k - z_y.

Carlini & Wagner, S&P 2017, for the loss; the L-inf form is that of Madry et al. 2018 and of every baseline's script.
"""

from functools import partial

from torch import nn

from cure.adversarial.pgd import margin_objective, pgd
from cure.core.attack import AttackSequence
from cure.core.method import Batch
from cure.core.tensors import Images
from cure.settings.base import FixedSearch


class Hyper(FixedSearch):
    """Settings of PGD."""


def attack(net: nn.Module, batch: Batch, hyper: Hyper) -> Images:
    """Return the adversarial images x', (n, c, h, w) in [0, 1]."""
    return pgd(net, batch, hyper, margin_objective)


def attack_sequence(hyper: Hyper, classes: int, seed: int) -> AttackSequence:
    """Return the attack as a sequence of one; its noise comes with the batch."""
    return AttackSequence({"cw": partial(attack, hyper=hyper)}, hyper.model_dump(), hyper.eps)
