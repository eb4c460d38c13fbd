"""Standard training: the network that CURE conserves, and the accuracy that robust methods trade against.

min_theta  mean CE(f(x), y)
"""

from cure.core.method import Batch, Method, Networks, Terms
from cure.nn.losses import cross_entropy
from cure.settings.base import MethodSettings


class Hyper(MethodSettings):
    """No settings of its own."""


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return CE(f(x), y)."""
    return {"natural": (1.0, cross_entropy(nets.student(batch.x), batch.y))}


METHOD = Method(
    cite="Empirical risk minimisation",
    hyper=Hyper,
    loss=loss,
)
