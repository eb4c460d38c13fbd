"""PGD: ascent on the cross-entropy. Madry et al., ICLR 2018; the last iterate counts, from one start.

One step of size eps from the image itself is FGSM (Goodfellow et al., ICLR 2015).
"""

from functools import partial

from torch import nn

from cure.adversarial.pgd import ce_objective, pgd
from cure.core.attack import AttackSequence
from cure.core.method import Batch
from cure.core.tensors import Images
from cure.settings.base import FixedSearch


class Hyper(FixedSearch):
    """The ascent."""


def attack(net: nn.Module, batch: Batch, hyper: Hyper) -> Images:
    """x' of every image."""
    return pgd(net, batch, hyper, ce_objective)


def attack_sequence(hyper: Hyper, classes: int, seed: int) -> AttackSequence:
    """The attack alone; its noise comes with the batch."""
    return AttackSequence({"pgd": partial(attack, hyper=hyper)}, hyper.model_dump(), hyper.eps)
