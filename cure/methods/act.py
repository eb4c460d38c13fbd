"""ACT: a robust and a natural network learn from each other.

Arani, Sarfraz, Zonooz, "Adversarial Concurrent Training: Optimizing Robustness and Accuracy Trade-off of Deep Neural
Networks", BMVC 2020. https://arxiv.org/abs/2008.07015

    L_F = (1 - a_F) CE(F(x'), y) + a_F T^2 KL(G(x)/T || F(x')/T),   G(x) constant
    L_G = (1 - a_G) CE(G(x), y)  + a_G T^2 KL(F(x')/T || G(x)/T),   F(x') constant

F, the student, is trained on adversarial images only, and G, `natural_peer`, on clean images only. F is evaluated and G
is dropped. x' maximises (1 - a_F) CE(F(x'), y) + a_F KL(G(x) || F(x')) at T = 1, and G(x) is the only forward of G, in
training mode. In the released attack the CE is a batch mean and the KL a batch sum (`reduction: sum`); `mean` is the
paper's formula.
"""

import copy
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from cure.adversarial.cuda_graphs import Fixed
from cure.adversarial.pgd import pgd
from cure.adversarial.pgd_loop import Objective
from cure.core.method import Batch, Companion, Method, Networks, Terms
from cure.core.network import reinitialised
from cure.nn.losses import cross_entropy, distillation, kl
from cure.settings.base import MethodSettings, Positive, Search, Share


class Hyper(MethodSettings):
    """Settings: T, a_F, a_G and the attack."""

    temperature: Positive
    alpha_robust: Share
    alpha_natural: Share
    reduction: Literal["sum", "mean"]  # of the KL in the attack, beside a batch mean of the CE
    shared_start: bool  # G starts from F's initial weights
    attack: Search


@dataclass(frozen=True)
class Both(Fixed):
    """The attack's objective (1 - a_F) / share CE(F(x'), y) + a_F KL(G(x) || F(x'))."""

    a: float
    share: int

    def __call__(self, net: nn.Module, batch: Batch) -> Objective:
        """Read G(x) from the batch's points and return the objective."""
        fixed = batch.points["fixed peer"]
        return lambda z: (1 - self.a) / self.share * cross_entropy(z, batch.y) + self.a * kl(fixed, z)


def attack(nets: Networks, batch: Batch, hyper: Hyper) -> dict[str, Any]:
    """Forward G(x) once, and attack F."""
    peer = nets.natural_peer(batch.x)
    share = len(batch.y) + batch.images_on_other_ranks if hyper.reduction == "sum" else 1

    objective = Both(hyper.alpha_robust, share)
    return {"adv": pgd(nets.student, batch, hyper.attack, objective, given={"fixed peer": peer.detach()}), "peer": peer}


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return L_F + L_G; each side of a distillation is constant for the other, so the two gradients do not mix."""
    robust, natural, t = nets.student(batch.x_adv), batch.points["peer"], hyper.temperature
    a_f, a_g = hyper.alpha_robust, hyper.alpha_natural
    return {
        "robust": (1 - a_f, cross_entropy(robust, batch.y)),
        "robust_kd": (a_f, distillation(natural.detach(), robust, t)),
        "natural": (1 - a_g, cross_entropy(natural, batch.y)),
        "natural_kd": (a_g, distillation(robust.detach(), natural, t)),
    }


def companions(hyper: Hyper) -> dict[str, Companion]:
    """Return G: the same architecture with its own weights, trained with the same schedule."""
    return {
        "natural_peer": Companion(copy.deepcopy if hyper.shared_start else reinitialised, trained=True, mode="train")
    }


METHOD = Method(
    cite="Arani et al. 2020",
    hyper=Hyper,
    loss=loss,
    attack=attack,
    companions=companions,
)
