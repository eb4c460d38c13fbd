"""Two forwards of Rice et al.'s released AT, which AT-AWP builds on: they move running statistics and nothing else.

Rice, Wong, Kolter, "Overfitting in adversarially robust deep learning", ICML 2020.
"""

import torch

from cure.core.method import Batch, Networks
from cure.core.tensors import Images
from cure.nn.batchnorm import scope
from cure.settings.base import MethodSettings, Search


class RiceForwards(MethodSettings):
    """Settings: the attack, and which of the two forwards are taken."""

    attack: Search
    forward_final: bool  # x' in the attack's mode, to choose among restarts (no effect with one)
    forward_clean: bool  # x after the step, for the log


def forward_final(nets: Networks, x_adv: Images, hyper: RiceForwards) -> None:
    """Forward x' once more at the end of the attack."""
    if hyper.forward_final:
        with torch.no_grad(), scope(nets.student, hyper.attack.bn):
            nets.student(x_adv)


def forward_clean(nets: Networks, batch: Batch, hyper: RiceForwards) -> None:
    """Forward x after the step."""
    if hyper.forward_clean:
        with torch.no_grad():
            nets.student(batch.x)
