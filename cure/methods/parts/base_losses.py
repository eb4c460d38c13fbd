"""The three losses that other methods wrap: plain adversarial, TRADES and MART.

A wrapper (FAT's stop rule, PART's radii, VFD's features) names its base, which provides the attack's objective and the
terms of the loss. The methods at, trades and mart are these losses under their own names and hyper-parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import model_validator

from cure.adversarial.pgd import ObjectiveOf, ce_objective, kl_objective, pgd
from cure.core.method import Batch, Networks, Terms
from cure.core.tensors import Images, Labels, Logits, PerExample
from cure.nn.losses import boosted_cross_entropy, cross_entropy, kl
from cure.settings.base import MethodSettings, NonNegative, Search


class Wrapped(MethodSettings):
    """Settings of every wrapper: its base, the base's weight (beta or lambda; `at` has none), and the attack."""

    base: Literal["at", "trades", "mart"]
    weight: NonNegative
    attack: Search


class WrappedLoss(Wrapped):
    """Settings of a wrapper that uses its base's whole loss."""

    forward_again: bool  # TRADES' second f(x)

    @model_validator(mode="after")
    def _only_trades_forwards_again(self) -> "WrappedLoss":
        if self.forward_again and self.base != "trades":
            raise ValueError(f"forward_again is true, but the base is {self.base}; only TRADES forwards x twice")
        return self


def adversarial(clean: Logits, adv: Logits, y: Labels, weight: float) -> Terms:
    """Return CE(f(x'), y), without the clean logits. Madry et al. 2018, Eq. (2.1)."""
    return {"robust": (1.0, cross_entropy(adv, y))}


def trades(clean: Logits, adv: Logits, y: Labels, beta: float) -> Terms:
    """Return CE(f(x), y) + beta KL(f(x) || f(x')), gradients through both arguments. Zhang et al. 2019."""
    return {"natural": (1.0, cross_entropy(clean, y)), "robust": (beta, kl(clean, adv))}


def mart(clean: Logits, adv: Logits, y: Labels, lam: float) -> Terms:
    """Return BCE(f(x'), y) + lambda (1 - p_y) KL(p || q), nothing detached. Wang et al. 2020."""
    return {
        "boosted": (1.0, boosted_cross_entropy(adv, y)),
        "robust": (lam, misclassified(clean, y) * smoothed_kl(clean, adv)),
    }


def misclassified(clean: Logits, y: Labels) -> PerExample:
    """Return 1 - p_y plus MART's 1e-7, which keeps it positive."""
    return 1.0000001 - clean.softmax(dim=1).gather(1, y[:, None])[:, 0]


def smoothed_kl(clean: Logits, adv: Logits) -> PerExample:
    """Return KL(p || q + 1e-12), as MART computes it."""
    p = clean.softmax(dim=1)
    return (p * (clean.log_softmax(dim=1) - (adv.softmax(dim=1) + 1e-12).log())).sum(dim=1)


@dataclass(frozen=True)
class Base:
    """An objective for the attack, and the loss of its result; `weight` is beta or lambda."""

    objective: ObjectiveOf
    terms: Callable[[Logits, Logits, Labels, float], Terms]
    clean: bool  # whether the loss forwards x

    def loss(
        self, nets: Networks, batch: Batch, weight: float, *, forward_again: bool = False, adv_first: bool = False
    ) -> Terms:
        """Return the terms on the student: it forwards x, if the base needs f(x), then x', or the other way round.

        `forward_again` forwards x once more at the end, for the running statistics: two gradients of the same f(x) add
        up to that of one.
        """
        points = {"clean": batch.x, "adv": batch.x_adv} if self.clean else {"adv": batch.x_adv}
        z = {name: nets.student(points[name]) for name in (reversed(points) if adv_first else points)}
        if forward_again:
            with torch.no_grad():
                nets.student(batch.x)
        return self.terms(z.get("clean", z["adv"]), z["adv"], batch.y, weight)


def pgd_on_base(nets: Networks, batch: Batch, hyper: Any) -> dict[str, Images]:
    """Fill the slot `attack` of a method that attacks its student as its base `hyper.base` does."""
    return {"adv": pgd(nets.student, batch, hyper.attack, BASES[hyper.base].objective)}


AT = Base(ce_objective, adversarial, clean=False)
TRADES = Base(kl_objective, trades, clean=True)
MART = Base(ce_objective, mart, clean=True)
BASES = {"at": AT, "trades": TRADES, "mart": MART}
