"""PGD: ascent on the cross-entropy. Madry et al., ICLR 2018; the last iterate counts, from one start.

One step of size eps from the image itself is FGSM (Goodfellow et al., ICLR 2015).
"""

from functools import partial

from torch import nn

from cure.adversarial.pgd import ascend, error
from cure.core.attack import Chain
from cure.core.method import Batch
from cure.core.tensors import Images
from cure.settings.base import FixedSearch


class Hyper(FixedSearch):
    """The ascent."""


def attack(net: nn.Module, batch: Batch, hyper: Hyper) -> Images:
    """x' of every image."""
    return ascend(net, batch, hyper, error)


def chain(hyper: Hyper, classes: int, seed: int) -> Chain:
    """The attack alone; its noise comes with the batch."""
    return Chain({"pgd": partial(attack, hyper=hyper)}, hyper.model_dump(), hyper.eps)
