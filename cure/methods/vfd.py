"""VFD: keep the features that standard training found. A RECONSTRUCTION from the abstract: no code was published.

"Vanilla Feature Distillation for Improving the Accuracy-Robustness Trade-Off in Adversarial Training", 2022.
https://arxiv.org/abs/2206.02158

    L = L_base(x, x', y) + lambda [ D(z(x'), z_N(x)) + D(z(x), z_N(x)) ]

z are the pooled features before the classifier, or the logits. N is the naturally trained network, frozen and in eval
mode, on the same augmented x. The abstract names the idea and these two pulls. D (the squared error, averaged over
features), the layer and lambda are ours. The attack is the base's own. The student starts from random weights, or from
N's, which is another method (`start`).
"""

from typing import Literal

import torch

from cure.core.method import Batch, Method, Networks, Role, Terms
from cure.core.network import Network
from cure.core.tensors import PerExample, Tensor
from cure.methods.parts.base_losses import BASES, Wrapped, pgd_on_base
from cure.nn.losses import cosine_distance
from cure.settings.base import NonNegative


class Hyper(Wrapped):
    """Settings: lambda, z, D, the start of the student, and the base."""

    lam: NonNegative
    layer: Literal["pooled", "logits"]
    distance: Literal["squared", "cosine"]
    start: Literal["random", "natural"]


def distance(z: Tensor, target: Tensor, kind: str) -> PerExample:
    """Return D of each example (n): the mean squared difference, or one minus the cosine."""
    if kind == "cosine":
        return cosine_distance(z, target)
    return (z - target).square().mean(dim=1)


def loss(nets: Networks, batch: Batch, hyper: Hyper) -> Terms:
    """Return the base's terms and the two pulls, from one forward each of x and x'."""
    student, natural, z = nets.student, nets.natural, hyper.layer
    assert isinstance(student, Network)
    assert isinstance(natural, Network)
    clean, adv = (student.features(x, ["pooled", "logits"]) for x in (batch.x, batch.x_adv))
    with torch.no_grad():
        target = natural.features(batch.x, [z])[z]
    return BASES[hyper.base].terms(clean["logits"], adv["logits"], batch.y, hyper.weight) | {
        "feature_adv": (hyper.lam, distance(adv[z], target, hyper.distance)),
        "feature_clean": (hyper.lam, distance(clean[z], target, hyper.distance)),
    }


def start(hyper: Hyper) -> Role | None:
    """Return `natural` if the student starts from N's weights, else None."""
    return "natural" if hyper.start == "natural" else None


METHOD = Method(
    cite="Vanilla Feature Distillation 2022 (reconstruction)",
    hyper=Hyper,
    loss=loss,
    attack=pgd_on_base,
    teachers=("natural",),
    start=start,
    reads_parts=True,
)
