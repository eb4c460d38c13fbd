"""What a column of an evaluation is: a sequence of attacks, each on the images that survived those before it.

PGD is a sequence of one, AutoAttack a sequence of four. A sequence with a `norm` seeks the smallest perturbation
instead: each of its attacks gets every image, and the shortest verified way out counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from cure.core.method import Batch
from cure.core.tensors import Images, PerExample
from cure.settings.base import Norm

Attack = Callable[[nn.Module, Batch], Images]
"""x' of every image; the driver looks itself whether x' is adversarial."""


@dataclass(frozen=True)
class AttackSequence:
    """Attacks by name, in their order."""

    attacks: dict[str, Attack]
    facts: dict[str, Any]  # everything that decides what the attacks do besides network, images and seed
    eps: float | None = None  # radius of the ball; what lies outside is no success
    label: str = ""  # of AutoAttack: standard, custom or rand
    passes: int = 1  # forwards whose mean probability decides a prediction; several for networks that draw at random
    norm: Norm | None = None  # of a sequence that seeks the smallest perturbation
    ball: Norm = "linf"  # the norm of the ball
    title: str = ""  # spells the first word of its columns' names: RayS makes rays100 RayS-100 and not Rays-100

    @property
    def metric(self) -> Norm:
        """The norm of its distances: of the ball, or of the perturbation that it makes small."""
        return self.norm or self.ball


def judged_alike(attack_sequences: dict[str, AttackSequence]) -> dict[str, AttackSequence]:
    """The same attacks, each judged by as many forwards as the most careful of them, so that none gains by luck."""
    most = max((sequence.passes for sequence in attack_sequences.values()), default=1)
    return {name: replace(sequence, passes=most) for name, sequence in attack_sequences.items()}


def distance(x_adv: Images, x: Images, norm: Norm) -> PerExample:
    """||x' - x|| per image, in units of [0, 1]: the largest pixel change, or the Euclidean length."""
    change = (x_adv - x).flatten(1)
    return change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
