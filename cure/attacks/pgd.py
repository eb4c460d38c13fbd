"""PGD: ascent on the cross-entropy. Madry et al., ICLR 2018; the last iterate counts, from one start."""

from torch import nn

from cure.core.ascent import ascend, error
from cure.core.method import Batch
from cure.core.settings import Search
from cure.core.tensors import Images


class Hyper(Search):
    """The ascent."""


def attack(net: nn.Module, batch: Batch, hyper: Hyper) -> Images:
    """x' of every image."""
    return ascend(net, batch, hyper, error)
