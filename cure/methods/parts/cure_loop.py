"""CURE's update loop, which CURE runs from the natural network and CURE_Eff after a natural warm-up.

    x' = PGD on KL(f(x) || f(x'))                                                                    Eq. (4)
    L  = CE(f(x), y) + beta KL(f(x) || f(x')) + gamma L_CR                                           Eq. (5)

with the mask of methods/parts/rgp.py, Eq. (6), and the revision of methods/parts/revision.py, Eqs. (7) and (8). Gowda
et al., "Conserve-Update-Revise ...", ICLR 2024. Student and revision network are both forwarded in training mode.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from cure.adversarial import pgd
from cure.adversarial.cuda_graphs import Fixed
from cure.adversarial.pgd_loop import Objective
from cure.core.method import Batch, Networks, Terms
from cure.core.tensors import Images
from cure.methods.parts.revision import Revision, consistency, revise
from cure.methods.parts.rgp import Prominence, restore_frozen
from cure.nn.losses import cross_entropy, kl
from cure.settings.base import NonNegative, Search


class CureLoop(Prominence, Revision):
    """Settings of mask, revision, attack and objective; the letters are the paper's."""

    beta: NonNegative  # weight of the KL in L; 1 in Eq. (5), 5 in the released code
    attack: Search
    maximise: Literal["kl", "ce", "ce_kl"]  # Eq. (4) | plain | Algorithm 1, line 4
    objective: Literal["trades", "alpha_ce", "alpha_kl"]  # Eq. (5) | alpha inside L, as released


@dataclass(frozen=True)
class Both(Fixed):
    """The objective CE(f(x'), y) + alpha KL(f(x) || f(x'))."""

    alpha: float

    def __call__(self, net: nn.Module, batch: Batch) -> Objective:
        """Compute f(x) once and return the objective."""
        away, wrong = pgd.kl_objective(net, batch), pgd.ce_objective(net, batch)
        return lambda z: wrong(z) + self.alpha * away(z)


def attack(nets: Networks, batch: Batch, hyper: CureLoop) -> dict[str, Images]:
    """Return x' on the student: Eq. (4), or one of the two other readings."""
    readings: dict[str, pgd.ObjectiveOf] = {"kl": pgd.kl_objective, "ce": pgd.ce_objective, "ce_kl": Both(hyper.alpha)}
    return {"adv": pgd.pgd(nets.student, batch, hyper.attack, readings[hyper.maximise])}


def loss(nets: Networks, batch: Batch, hyper: CureLoop) -> Terms:
    """Return L, and CE(f(x'), y) with weight zero where only the score needs it."""
    clean, adv = nets.student(batch.x), nets.student(batch.x_adv)
    natural, divergence, adversarial = {
        "trades": (1.0, hyper.beta, 0.0),
        "alpha_ce": (hyper.alpha, 0.0, 1 - hyper.alpha),
        "alpha_kl": (hyper.alpha, 1 - hyper.alpha, 0.0),
    }[hyper.objective]
    return {
        "natural": (natural, cross_entropy(clean, batch.y)),
        "divergence": (divergence, kl(clean, adv)),
        "adversarial": (adversarial, cross_entropy(adv, batch.y)),
        **consistency(nets, batch, clean, adv, hyper),
    }


def after_step(nets: Networks, batch: Batch, hyper: CureLoop) -> None:
    """Restore frozen weights, then revise: Eq. (7)."""
    restore_frozen(batch)
    revise(nets, batch, hyper)
