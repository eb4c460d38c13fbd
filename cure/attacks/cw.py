"""C&W as tables of L-inf results mean it: the PGD ascent on the margin max_{k != y} z_k - z_y.

Carlini & Wagner, S&P 2017, for the loss; the L-inf form is that of Madry et al. 2018 and of every baseline's script.
"""

from torch import nn

from cure.core.ascent import ascend, wrongness
from cure.core.method import Batch
from cure.core.settings import Search
from cure.core.tensors import Images


class Hyper(Search):
    """The ascent."""


def attack(net: nn.Module, batch: Batch, hyper: Hyper) -> Images:
    """x' of every image."""
    return ascend(net, batch, hyper, wrongness)
