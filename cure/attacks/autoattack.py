"""AutoAttack in the L-inf or the L2 norm: APGD-CE, targeted APGD-DLR, targeted FAB and Square, each on the survivors.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML
2020. `rand` is their version for networks that draw at random: APGD-CE and APGD-DLR on the mean of 20 gradients.

The label is `standard` or `rand` only for the published settings. With fewer than 10 classes there are fewer than nine
targets. With fewer than four classes (three, for the untargeted loss) the DLR loss is undefined, and the logit margin
replaces it. Both cases are labelled `custom`.
"""

from functools import partial
from typing import Any, Literal

from torch import nn

from cure.adversarial.autoattack_classes import apgd, apgd_targeted, fab_targeted, package, square
from cure.core.attack import Attack, AttackSequence
from cure.core.method import Batch
from cure.core.tensors import Images
from cure.settings.base import Ball, Count, L2Ball, Norm

PUBLISHED = {"iterations": 100, "queries": 5000, "targets": 9}
EOT = 20  # gradients, and verifying forwards, for a network that draws at random


class Hyper(Ball):
    """Settings of AutoAttack; the published values are 100, 5000 and 9, and others give the label `custom`."""

    version: Literal["standard", "rand"]
    iterations: Count  # of APGD and FAB, per target
    queries: Count  # of Square
    targets: Count  # of the targeted attacks, at most the number of wrong classes


class L2Hyper(L2Ball):
    """Settings of AutoAttack in the L2 ball; its authors publish the same values for it."""

    version: Literal["standard", "rand"]
    iterations: Count
    queries: Count
    targets: Count


def attack_sequence(hyper: Hyper, classes: int, seed: int) -> AttackSequence:
    """Return the attacks of the version for a network of `classes` classes; every batch is attacked with `seed`."""
    return _sequence(hyper, classes, seed, "linf")


def l2_attack_sequence(hyper: L2Hyper, classes: int, seed: int) -> AttackSequence:
    """Return the same attacks in the L2 ball."""
    return _sequence(hyper, classes, seed, "l2")


def _sequence(hyper: Hyper | L2Hyper, classes: int, seed: int, ball: Norm) -> AttackSequence:
    targets = min(hyper.targets, classes - 1)
    used = {"iterations": hyper.iterations, "queries": hyper.queries, "targets": targets}
    how: dict[str, Any] = {"eps": hyper.eps, "norm": ball, "iterations": hyper.iterations, "seed": seed}
    ce = _attack(apgd, loss="ce", **how)
    if hyper.version == "rand":
        loss = "dlr" if classes >= 3 else "margin"
        attacks = {"apgd-ce": _attack(apgd, loss="ce", eot=EOT, **how)}
        attacks[f"apgd-{loss}"] = _attack(apgd, loss=loss, eot=EOT, **how)
        published = hyper.iterations == PUBLISHED["iterations"] and loss == "dlr"
    else:
        strong = {"apgd-t": _attack(apgd_targeted, targets=targets, **how)}
        if classes < 4:
            strong = {"apgd-margin": _attack(apgd, loss="margin", **how)}
        fab = _attack(fab_targeted, targets=targets, **how)
        search = _attack(square, eps=hyper.eps, norm=ball, queries=hyper.queries, seed=seed)
        attacks = {"apgd-ce": ce, **strong, "fab-t": fab, "square": search}
        published = used == PUBLISHED
    facts = {**hyper.model_dump(), **used, "ball": ball, "package": package()}
    label, passes = hyper.version if published else "custom", EOT if hyper.version == "rand" else 1
    return AttackSequence(attacks, facts, hyper.eps, label, passes, ball=ball)


def _attack(function: Any, **how: Any) -> Attack:
    return partial(_on_batch, function=partial(function, **how))


def _on_batch(net: nn.Module, batch: Batch, function: Any) -> Images:
    found: Images = function(net, batch.x, batch.y)
    return found
