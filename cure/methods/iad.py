"""IAD: trust the robust teacher only as far as it survives the student's adversarial images.

Zhu et al., "Reliable Adversarial Distillation with Unreliable Teachers", ICLR 2022. https://arxiv.org/abs/2106.04928

    w_i    = (softmax teacher(x'_i))[y_i]^beta
    IAD-I  = a { mean [w_i] T^2 KL(teacher(x) || f(x'))_i + mean (1 - w_i) KL(f(x) || f(x'))_i } + (1 - a) CE(f(x), y)
    IAD-II = (1 - a_1 - a_2) CE(f(x'), y) + a_2 T^2 KL(natural(x') || f(x'))
             + a_1 { T^2 mean w_i KL(teacher(x') || f(x'))_i + T^2 mean (1 - w_i) KL(f(x) || f(x'))_i }

T divides both logits of the teacher's and the natural terms, and no logits of the self terms. Before epoch `begin` the
self terms are left out and w is 1: IAD-I is then ARD at T = 1, and IAD-II is AKD2. The released IAD-I does not weight
its teacher term by w, but IAD-II does (`weight_teacher`). f(x) is not detached in the self term. The released IAD-I
forwards x' once and x once more than it uses, which moves running statistics (`spare_forwards`). The released schedule
is ARD's: 0.1 for epochs 1 to 100 and 0.01 to the end, since its second drop repeats the first.
`drops: {101: 0.1, 151: 0.01}` is the schedule that its names mean.
"""

from typing import Literal

import torch
from pydantic import model_validator

from cure.adversarial.pgd import pgd_on_error
from cure.core.method import Batch, Method, Networks, Terms
from cure.core.tensors import Logits, PerExample
from cure.nn.losses import cross_entropy, distillation, kl
from cure.settings.base import DelayedSettings, NonNegative, Positive, Search, Share


class Hyper(DelayedSettings):
    """Settings: the variant, its weights, and the attack; the self terms begin in epoch `begin`."""

    variant: Literal[1, 2]
    beta: NonNegative
    temperature: Positive
    alpha: Share  # a of IAD-I
    alpha1: Share
    alpha2: Share
    weight_teacher: bool
    spare_forwards: bool
    attack: Search

    @model_validator(mode="after")
    def _labels_keep_a_share(self) -> "Hyper":
        if self.variant == 2 and self.alpha1 + self.alpha2 > 1:
            raise ValueError(
                f"alpha1 + alpha2 is {self.alpha1 + self.alpha2:g}; at most 1, since the labels get the rest"
            )
        return self


def trust(teacher_adv: Logits, batch: Batch, beta: float) -> PerExample:
    """Return w (n), the teacher's probability of each label on x' to the power beta."""
    return teacher_adv.softmax(dim=1).gather(1, batch.y[:, None])[:, 0] ** beta


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the terms of IAD-I or IAD-II in its phase."""
    return {1: first, 2: second}[hyper.variant](nets, batch, hyper)


def first(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the terms of IAD-I."""
    introspective = batch.position.epoch >= hyper.begin
    adv, target = nets.student(batch.x_adv), nets.teacher(batch.x).detach()
    if hyper.spare_forwards:
        with torch.no_grad():
            nets.student(batch.x_adv)
            if introspective:
                nets.student(batch.x)
    clean = nets.student(batch.x)
    w = trust(nets.teacher(batch.x_adv).detach(), batch, hyper.beta) if introspective else torch.ones_like(adv[:, 0])
    batch.show("trust", w)
    teacher = distillation(target, adv, hyper.temperature)
    terms: Terms = {"teacher": (hyper.alpha, teacher * (w if hyper.weight_teacher else 1))}
    if introspective:
        terms["self"] = (hyper.alpha, (1 - w) * kl(clean, adv))
    return terms | {"natural_ce": (1 - hyper.alpha, cross_entropy(clean, batch.y))}


def second(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the terms of IAD-II."""
    introspective, t = batch.position.epoch >= hyper.begin, hyper.temperature
    adv, target = nets.student(batch.x_adv), nets.teacher(batch.x_adv).detach()
    w = trust(target, batch, hyper.beta) if introspective and hyper.weight_teacher else torch.ones_like(adv[:, 0])
    batch.show("trust", w)
    terms: Terms = {
        "adv_ce": (1 - hyper.alpha1 - hyper.alpha2, cross_entropy(adv, batch.y)),
        "natural": (hyper.alpha2, distillation(nets.natural(batch.x_adv).detach(), adv, t)),
        "teacher": (hyper.alpha1, w * distillation(target, adv, t)),
    }
    if introspective:
        w = trust(target, batch, hyper.beta)
        terms["self"] = (hyper.alpha1 * t**2, (1 - w) * kl(nets.student(batch.x), adv))
    return terms


METHOD = Method(
    cite="Zhu et al. 2022",
    hyper=Hyper,
    loss=loss,
    attack=pgd_on_error,
    teachers=("natural", "teacher"),
    shows=("trust",),
)
