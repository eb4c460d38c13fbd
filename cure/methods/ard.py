"""ARD: distil a robust teacher's clean predictions into the student's adversarial ones.

Goldblum et al., "Adversarially Robust Distillation", AAAI 2020. https://arxiv.org/abs/1905.09747

    L = a T^2 KL(teacher(x)/T || f(x')/T) + (1 - a) CE(f(x), y)

The teacher is frozen, in eval mode, and gets clean images only. The released KL is also divided by the number of
classes (`reduction: element`); in other papers' ARD, T = 1 and the KL is a batch mean (preset `ard_t1`). The released
student is in training mode throughout the attack. f(x) is forwarded even where a = 1 gives it no weight, which moves
running statistics (`clean_forward`). The released schedule names drops at two epochs, but both set a tenth of the first
rate: 0.1 for epochs 1 to 100 and 0.01 to the end, as in params.yaml. `drops: {101: 0.1, 151: 0.01}` is the schedule
that the names mean.
"""

from typing import Literal

from cure.adversarial.pgd import pgd_on_error
from cure.core.method import Batch, Method, Networks, Terms
from cure.nn.losses import cross_entropy, distillation
from cure.settings.base import MethodSettings, Positive, Search, Share


class Hyper(MethodSettings):
    """Settings: T, a, the KL's reduction, and the attack."""

    temperature: Positive
    alpha: Share
    reduction: Literal["element", "batch"]
    clean_forward: bool  # forward f(x) even if a is 1
    attack: Search


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the distillation, and the clean CE if it has weight or `clean_forward` is set."""
    adv, target = nets.student(batch.x_adv), nets.teacher(batch.x).detach()
    scale = adv.shape[1] if hyper.reduction == "element" else 1
    terms: Terms = {"distill": (hyper.alpha, distillation(target, adv, hyper.temperature) / scale)}
    if hyper.clean_forward or hyper.alpha < 1:
        terms["natural"] = (1 - hyper.alpha, cross_entropy(nets.student(batch.x), batch.y))
    return terms


METHOD = Method(
    cite="Goldblum et al. 2020",
    hyper=Hyper,
    loss=loss,
    attack=pgd_on_error,
    teachers=("teacher",),
)
