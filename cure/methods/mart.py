"""MART: weight the consistency by how wrong the clean prediction is.

Wang et al., "Improving Adversarial Robustness Requires Revisiting Misclassified Examples", ICLR 2020.
https://openreview.net/forum?id=rklOg6EFwS

    min_theta  mean [ BCE(f(x'), y) + lambda (1 - p_y) KL(p || q) ],   p = softmax f(x), q = softmax f(x')
    BCE(f(x'), y) = -log q_y - log(1.0001 - max_{k != y} q_k)

There is no clean cross-entropy: the clean branch learns through the weight and the KL, in which nothing is detached.
The code adds the release's 1e-7 and 1e-12 against zeros.
x' = PGD on CE from 0.001 N(0, 1), as in the released scripts, which set lambda to 5 for ResNet-18 and 6 for WRN-34-10.
"""

from cure.adversarial.pgd import pgd_on_error
from cure.core.method import Batch, Method, Networks, Terms
from cure.methods.parts.base_losses import MART
from cure.settings.base import MethodSettings, NonNegative, Search


class Hyper(MethodSettings):
    """Settings: lambda, and the attack."""

    lam: NonNegative
    attack: Search


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return BCE + lambda (1 - p_y) KL."""
    return MART.loss(nets, batch, hyper.lam)


METHOD = Method(
    cite="Wang et al. 2020",
    hyper=Hyper,
    loss=loss,
    attack=pgd_on_error,
)
