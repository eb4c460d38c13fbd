"""PGD on the cross-entropy. Madry et al., ICLR 2018; one start, and the last iterate counts.

One step of size eps from the image itself is FGSM (Goodfellow et al., ICLR 2015). The L2 form is in
adversarial/pgd_l2.py.
"""

from functools import partial

from torch import nn

from cure.adversarial.pgd import ce_objective, pgd
from cure.adversarial.pgd_l2 import pgd_l2
from cure.core.attack import AttackSequence
from cure.core.method import Batch
from cure.core.tensors import Images
from cure.settings.base import FixedSearch, L2Search


class Hyper(FixedSearch):
    """Settings of PGD."""


class L2Hyper(L2Search):
    """Settings of PGD in the L2 ball."""


def attack(net: nn.Module, batch: Batch, hyper: Hyper) -> Images:
    """Return the adversarial images x', (n, c, h, w) in [0, 1]."""
    return pgd(net, batch, hyper, ce_objective)


def attack_sequence(hyper: Hyper, classes: int, seed: int) -> AttackSequence:
    """Return the attack as a sequence of one; its noise comes with the batch."""
    return AttackSequence({"pgd": partial(attack, hyper=hyper)}, hyper.model_dump(), hyper.eps)


def l2_attack_sequence(hyper: L2Hyper, classes: int, seed: int) -> AttackSequence:
    """Return the same attack in the L2 ball."""
    ascent = partial(pgd_l2, search=hyper, objective=ce_objective)
    return AttackSequence({"pgd": ascent}, hyper.model_dump() | {"ball": "l2"}, hyper.eps, ball="l2")
