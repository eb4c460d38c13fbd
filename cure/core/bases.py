"""The three losses that other methods wrap: plain adversarial, TRADES and MART, as blocks.

A wrapper (FAT's stop rule, PART's radii, VFD's features) names its base; the base gives the ascent's objective and the
terms of the loss. The methods at, trades and mart are these blocks under their own names and hyper-parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cure.core.ascent import Maximise, divergence, error
from cure.core.losses import boosted_cross_entropy, cross_entropy, kl
from cure.core.method import Batch, Networks, Terms
from cure.core.tensors import Logits, PerExample


def adversarial(nets: Networks, batch: Batch, weight: float) -> Terms:
    """CE(f(x'), y). Madry et al. 2018, Eq. (2.1)."""
    return {"robust": (1.0, cross_entropy(nets.student(batch.x_adv), batch.y))}


def trades(nets: Networks, batch: Batch, beta: float) -> Terms:
    """CE(f(x), y) + beta KL(f(x) || f(x')), gradients through both arguments. Zhang et al. 2019, Eq. (5)."""
    clean, adv = nets.student(batch.x), nets.student(batch.x_adv)
    return {"natural": (1.0, cross_entropy(clean, batch.y)), "robust": (beta, kl(clean, adv))}


def mart(nets: Networks, batch: Batch, lam: float) -> Terms:
    """BCE(f(x'), y) + lambda (1 - p_y) KL(p || q), nothing detached. Wang et al. 2020, Eq. (8)."""
    clean, adv = nets.student(batch.x), nets.student(batch.x_adv)
    return {
        "boosted": (1.0, boosted_cross_entropy(adv, batch.y)),
        "robust": (lam, misclassified(clean, batch) * smoothed_kl(clean, adv)),
    }


def misclassified(clean: Logits, batch: Batch) -> PerExample:
    """1 - p_y with MART's 1e-7 that keeps it positive."""
    return 1.0000001 - clean.softmax(dim=1).gather(1, batch.y[:, None])[:, 0]


def smoothed_kl(clean: Logits, adv: Logits) -> PerExample:
    """KL(p || q + 1e-12), as MART computes it."""
    p = clean.softmax(dim=1)
    return (p * (clean.log_softmax(dim=1) - (adv.softmax(dim=1) + 1e-12).log())).sum(dim=1)


@dataclass(frozen=True)
class Base:
    """An objective for the ascent, and the loss on its result; `weight` is beta or lambda."""

    maximise: Maximise
    loss: Callable[[Networks, Batch, float], Terms]


BASES = {
    "at": Base(error, adversarial),
    "trades": Base(divergence, trades),
    "mart": Base(error, mart),
}
