"""LBGAT: the logits of a robust network on x' follow those of a natural network on x, which is trained beside it.

Cui, Liu, Wang, Jia, "Learnable Boundary Guided Adversarial Training", ICCV 2021. https://arxiv.org/abs/2011.11164

    L = ||M(x') - N(x)||^2 / K + CE(N(x), y) + beta KL(M(x) || M(x'))        K classes; beta 0 is LBGAT0, 6 is LBGAT6

x' = PGD on KL(M(x) || M(x')), also if beta is 0. M, the student, and N, `natural_peer`, are trained from scratch by one
optimiser. Nothing is detached, so N is also pulled towards M. M is evaluated and N is dropped. As released, the squared
error is a mean over classes. M forwards x also if beta is 0, which moves running statistics and nothing else.

Deviation. The authors' N is always a ResNet-18 with larger feature maps; here N has the architecture of M.
"""

import torch

from cure.adversarial.pgd import kl_objective, pgd
from cure.core.method import Batch, Companion, Method, Networks, Terms
from cure.core.network import reinitialised
from cure.core.tensors import Images
from cure.nn.losses import cross_entropy, kl
from cure.settings.base import MethodSettings, NonNegative, Search


class Hyper(MethodSettings):
    """Settings: beta and the attack."""

    beta: NonNegative
    attack: Search


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Images]:
    """Return x' = PGD on KL(M(x) || M(x')), with M(x) held constant."""
    return {"adv": pgd(nets.student, batch, hyper.attack, kl_objective)}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the squared error between the networks, N's cross-entropy, and M's divergence."""
    adv = nets.student(batch.x_adv)
    with torch.set_grad_enabled(hyper.beta > 0):
        clean = nets.student(batch.x)
    natural = nets.natural_peer(batch.x)
    return {
        "match": (1.0, (adv - natural).square().mean(dim=1)),
        "natural": (1.0, cross_entropy(natural, batch.y)),
        "robust": (hyper.beta, kl(clean, adv if hyper.beta else adv.detach())),
    }


def companions(hyper: Hyper) -> dict[str, Companion]:
    """Return N, with weights of its own."""
    return {"natural_peer": Companion(reinitialised, trained=True, mode="train")}


METHOD = Method(
    cite="Cui et al. 2021",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    companions=companions,
)
