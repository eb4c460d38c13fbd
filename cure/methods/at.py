"""AT: train on adversarial images only.

Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, Eq. (2.1).
https://arxiv.org/abs/1706.06083

    min_theta  mean max_{|x' - x|_inf <= eps} CE(f(x'), y)

Deviations. The attack runs on running batch-norm statistics unless `attack.bn` sets another scope, so only the training
forward moves them. Rice et al. (ICML 2020) attack in training mode, forward the last iterate once more to choose among
restarts (without effect with one restart) and log a clean forward after the step. All three move running statistics and
nothing else. `forward_final` and `forward_clean` are those two forwards, which the preset `rice` turns on. The preset
`rift` is the schedule of the network that RiFT's authors start from: 110 epochs, drops at 100 and 105. Rice et al. also
normalise the input by CIFAR-10's mean and deviation and pad crops by reflection. Both concern every row of a table, so
they are keys of the model (`models.NAME.normalise`) and of the data set (`augment.padding`).
"""

from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Batch, Method, Networks, Terms
from cure.core.tensors import Images
from cure.methods.parts.base_losses import AT
from cure.methods.parts.rice import RiceForwards, forward_clean, forward_final


class Hyper(RiceForwards):
    """Settings: the attack, and Rice et al.'s two extra forwards."""


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x' = PGD on CE."""
    x_adv = pgd(nets.student, batch, hyper.attack, ce_objective)
    forward_final(nets, x_adv, hyper)
    return {"adv": x_adv}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return CE(f(x'), y)."""
    return AT.loss(nets, batch, 1.0)


METHOD = Method(
    cite="Madry et al. 2018, Eq. (2.1)",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    after_step=forward_clean,
)
