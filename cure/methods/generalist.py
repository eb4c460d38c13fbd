"""Generalist: a robust and a natural expert are trained apart; their averaged weights are mixed and handed back.

Wang, Wang, "Generalist: Decoupling Natural and Robust Generalization", CVPR 2023. https://arxiv.org/abs/2303.13813

    theta_r: CE(f_r(x'), y), x' = PGD on CE of f_r        theta_n: CE(f_n(x), y)        each by its own weight decay
    E_r <- d_t E_r + (1 - d_t) theta_r,   E_n <- d_t E_n + (1 - d_t) theta_n,   d_t = min(d, (t + 1) / (t + 10))
    E   <- d_t E + (1 - d_t) (beta E_r + (1 - beta) E_n)
    theta_r, theta_n <- E   after every step of the epochs begin, begin + hand_over_every, ...

The student is the robust expert; E is evaluated. The averages include running statistics. The momenta are kept at a
hand-over. beta is linear between the epochs that params.yaml names. So is the learning rate, which both experts share
(`lr_schedule: linear`).

Deviations. The authors take the epoch with the best sum of clean and PGD accuracy on the test split, among those with
88 % clean accuracy. Here it is the best by validation PGD, as for every row. Their averages also include the counters
of batches, integers that the average truncates and nothing reads; here they are left out. The released program stops
before its first step, so the published numbers come from other code.
"""

import copy
from typing import Annotated

import torch
from pydantic import BeforeValidator, Field

from cure.adversarial.pgd import pgd_on_error
from cure.core.method import Batch, Companion, Method, Networks, Terms
from cure.nn.averaging import numbers
from cure.nn.losses import cross_entropy
from cure.settings.base import Count, DelayedSettings, Epoch, NonNegative, Search, Share, between, integer_keys

Mixture = Annotated[dict[Epoch, Share], BeforeValidator(integer_keys), Field(min_length=1)]


class Hyper(DelayedSettings):
    """Settings: beta by epoch, d, the hand-overs, the natural expert's weight decay, and the attack."""

    beta: Mixture  # 1-based epoch -> weight of the robust average
    d: Share
    hand_over_every: Count  # epochs from one hand-over to the next; the first is in epoch `begin`
    natural_weight_decay: NonNegative
    attack: Search


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return CE(f_r(x'), y) + CE(f_n(x), y); the experts share no weights, so each gets its own gradient."""
    return {
        "robust": (1.0, cross_entropy(nets.student(batch.x_adv), batch.y)),
        "natural": (1.0, cross_entropy(nets.natural_expert(batch.x), batch.y)),
    }


def hands_over(hyper: Hyper, epoch: int) -> bool:
    """Return whether the mixture overwrites the experts in this epoch."""
    return epoch >= hyper.begin and (epoch - hyper.begin) % hyper.hand_over_every == 0


@torch.no_grad()
def after_step(nets: Networks, batch: Batch, hyper: Hyper) -> None:
    """Move the three averages, then hand over."""
    position = batch.position
    d = min(hyper.d, (position.step + 1) / (position.step + 10))
    names = ("student", "natural_expert", "average_robust", "average_natural", "mixed")
    robust, natural, average_robust, average_natural, mixed = (numbers(nets[name]) for name in names)
    torch._foreach_lerp_([*average_robust, *average_natural], [*robust, *natural], 1 - d)
    mixture = torch._foreach_lerp(average_natural, average_robust, between(hyper.beta, position.epoch))
    torch._foreach_lerp_(mixed, mixture, 1 - d)
    if hands_over(hyper, position.epoch):
        torch._foreach_copy_([*robust, *natural], [*mixed, *mixed])


def companions(hyper: Hyper) -> dict[str, Companion]:
    """Return the natural expert, both averages and their mixture, all with the student's initial weights."""
    averages = {name: Companion(copy.deepcopy) for name in ("average_robust", "average_natural", "mixed")}
    natural = Companion(copy.deepcopy, trained=True, mode="train", weight_decay=hyper.natural_weight_decay)
    return {"natural_expert": natural, **averages}


METHOD = Method(
    cite="Wang and Wang 2023",
    hyper=Hyper,
    loss=loss,
    attack=pgd_on_error,
    after_step=after_step,
    companions=companions,
    evaluated="mixed",
)
