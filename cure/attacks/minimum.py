"""The smallest perturbation of each image: a fast search, then FAB towards the likeliest classes; the shortest counts.

L-inf: FMN (Pintor et al., NeurIPS 2021) and FAB (Croce and Hein, ICML 2020). L2: DDN (Rony et al., CVPR 2019) and FAB.
Every distance belongs to an image that the network itself misclassified, so it is an upper bound.
"""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch import nn

from cure.adversarial.autoattack_classes import fab_towards, package
from cure.adversarial.minimum_norm import ddn, fmn
from cure.core.attack import Attack, AttackSequence
from cure.core.method import Batch
from cure.core.tensors import Images
from cure.settings.base import Count, Norm, Positive, Settings, Share


class Hyper(Settings):
    """Settings of the fast search, and `iterations` of FAB towards each of `targets` classes."""

    norm: Norm
    steps: Count
    step: Positive  # length of the first step in the L2 norm
    gamma: Share  # relative change of the radius in the first steps
    radius: Positive = 1.0  # DDN's first radius
    targets: Annotated[int, Field(ge=0)]  # 0: the fast search alone
    iterations: Count


def attack_sequence(hyper: Hyper, classes: int, seed: int) -> AttackSequence:
    """Return the fast search and FAB towards each target, each on every image; none of them draws at random."""
    fast: dict[str, Attack] = {"fmn": partial(_fmn, hyper=hyper)}
    if hyper.norm == "l2":
        fast = {"ddn": partial(_ddn, hyper=hyper)}
    fab = {f"fab-{k}": partial(_fab, hyper=hyper, rank=k) for k in range(1, min(hyper.targets, classes - 1) + 1)}
    return AttackSequence({**fast, **fab}, hyper.model_dump() | {"package": package()}, norm=hyper.norm)


def _fmn(net: nn.Module, batch: Batch, hyper: Hyper) -> Images:
    return fmn(net, batch.x, batch.y, steps=hyper.steps, step=hyper.step, gamma=hyper.gamma)


def _ddn(net: nn.Module, batch: Batch, hyper: Hyper) -> Images:
    how = {"step": hyper.step, "gamma": hyper.gamma, "radius": hyper.radius}
    return ddn(net, batch.x, batch.y, steps=hyper.steps, **how)


def _fab(net: nn.Module, batch: Batch, hyper: Hyper, rank: int) -> Images:
    return fab_towards(net, batch.x, batch.y, rank=rank, iterations=hyper.iterations, norm=hyper.norm)
