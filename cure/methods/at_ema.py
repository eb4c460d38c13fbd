"""AT with an exponential moving average of its weights, which is evaluated.

Training is that of Madry et al., ICLR 2018, the average that of Gowal, Qin, Uesato, Mann, Kohli, "Uncovering the Limits
of Adversarial Training against Norm-Bounded Adversarial Examples", 2020. https://arxiv.org/abs/2010.03593

    min_theta  mean max_{|x' - x|_inf <= eps} CE(f(x'), y),        theta_avg <- tau_t theta_avg + (1 - tau_t) theta

tau_t = min(tau, 1 - 1/(t + 1)) for the t-th step, so that early weights fade.

The student is AT's. `train.average` sets the average, which has running statistics of its own (training/average.py),
and `train.select` evaluates it. Under `protocol: matched` both settings stay, since they are the method; the rest is
common.
"""

from cure.adversarial.pgd import pgd_on_error
from cure.core.method import Batch, Method, Networks, Terms
from cure.methods.parts.base_losses import AT
from cure.settings.base import MethodSettings, Search


class Hyper(MethodSettings):
    """Settings: the attack."""

    attack: Search


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return CE(f(x'), y)."""
    return AT.loss(nets, batch, 1.0)


METHOD = Method(
    cite="Madry et al. 2018; Gowal et al. 2020",
    hyper=Hyper,
    loss=loss,
    attack=pgd_on_error,
)
