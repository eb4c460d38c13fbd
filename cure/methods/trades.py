"""TRADES: pull the adversarial prediction towards the clean one.

Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy", ICML 2019, Eq. (5).
https://arxiv.org/abs/1901.08573

    min_theta  mean CE(f(x), y) + beta * mean max_{|x' - x|_inf <= eps} KL(f(x) || f(x'))

Deviation. The authors forward x twice in training mode (x, x', x). The two clean gradients add up to the gradient of
one forward, so here x is forwarded once. Only the running batch-norm statistics differ: x moves them once, unless
`forward_again` is set. Gradients flow through both arguments of the KL.
"""

from cure.adversarial.pgd import kl_objective, pgd
from cure.core.method import Batch, Method, Networks, Terms
from cure.core.tensors import Images
from cure.methods.parts.base_losses import TRADES
from cure.settings.base import MethodSettings, NonNegative, Search


class Hyper(MethodSettings):
    """Settings: beta, the paper's 1/lambda, and the attack."""

    beta: NonNegative
    forward_again: bool  # the authors' second f(x)
    attack: Search


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x' = PGD on KL(f(x) || f(x')), with f(x) held constant."""
    return {"adv": pgd(nets.student, batch, hyper.attack, kl_objective)}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return CE(f(x), y) + beta KL(f(x) || f(x'))."""
    return TRADES.loss(nets, batch, hyper.beta, forward_again=hyper.forward_again)


METHOD = Method(
    cite="Zhang et al. 2019, Eq. (5)",
    hyper=Hyper,
    loss=loss,
    attack=attack,
)
