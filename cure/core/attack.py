"""The contract of an attack: a sequence of attacks, each on the images that survived those before it.

A column of an evaluation runs one sequence. PGD is a sequence of one, AutoAttack a sequence of four. A sequence with a
`norm` searches for the smallest perturbation instead: each of its attacks gets every image, and the shortest verified
perturbation counts.

An entry cure/attacks/NAME.py defines `Hyper`, the settings of a column (a `Ball` if it has a radius), and

    attack_sequence(hyper, classes, seed) -> AttackSequence

for a network of `classes` classes. `L2Hyper` and `l2_attack_sequence` are the same for the L2 ball, and optional.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from cure.core.method import Batch
from cure.core.tensors import Images, PerExample
from cure.settings.base import Norm

Attack = Callable[[nn.Module, Batch], Images]
"""From a network in eval mode and a batch to (n, c, h, w) images. The driver verifies whether they are adversarial."""


@dataclass(frozen=True)
class AttackSequence:
    """Attacks by name, in the order in which they run, and how their results are judged.

    Example:
        >>> AttackSequence({"pgd": partial(attack, hyper=hyper)}, facts=hyper.model_dump(), eps=hyper.eps)
    """

    attacks: dict[str, Attack]  # in the order in which they run
    facts: dict[str, Any]  # everything besides network, images and seed that decides the result
    eps: float | None = None  # radius of the ball; images outside are not counted as adversarial
    label: str = ""  # version of AutoAttack: standard, custom or rand
    passes: int = 1  # forwards whose mean probability decides a prediction; above 1 for networks that draw at random
    norm: Norm | None = None  # of the perturbation that the sequence minimises; None: it attacks within the ball
    ball: Norm = "linf"  # norm of the ball
    title: str = ""  # spelling of the first word of a column's name: rays100 is RayS-100 and not Rays-100

    @property
    def metric(self) -> Norm:
        """Return the norm of the perturbation that it minimises, else that of the ball."""
        return self.norm or self.ball


def judged_alike(attack_sequences: dict[str, AttackSequence]) -> dict[str, AttackSequence]:
    """Return the sequences, all judged by the largest number of forwards among them, so that none gains by luck."""
    most = max((sequence.passes for sequence in attack_sequences.values()), default=1)
    return {name: replace(sequence, passes=most) for name, sequence in attack_sequences.items()}


def distance(x_adv: Images, x: Images, norm: Norm) -> PerExample:
    """Return the size of each perturbation.

    Args:
        x_adv: (n, c, h, w) adversarial images.
        x: (n, c, h, w) images.
        norm: `linf` for the largest change of a pixel, `l2` for the Euclidean length.

    Returns:
        Distances of shape (n), in units of [0, 1].
    """
    change = (x_adv - x).flatten(1)
    return change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
