"""Count an attack's passes for an image that survives it, by running the attack once on a network that it cannot break.

The network costs next to nothing, so even AutoAttack's 7,852 forward passes take only seconds.
"""

from dataclasses import dataclass

import torch
from torch import nn

from cure.core.attack import Attack, AttackSequence
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.core.tensors import Images, Logits, Tensor
from cure.evaluation.driver import full_precision
from cure.evaluation.work_items import digest

SHAPE = (3, 32, 32)  # of the image; a smaller one would save no time
LEAD = 9.0


@dataclass(frozen=True)
class Work:
    """Passes per image that survives an attack: forward passes, and how many of them have a gradient to the image."""

    forwards: int
    gradients: int


class Unbeaten(nn.Module):
    """A network that predicts label 0 for any image, has a gradient, and counts the images of its passes."""

    way: Tensor
    lead: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("way", torch.linspace(-1, 1, classes))
        self.register_buffer("lead", LEAD * (torch.arange(classes) == 0))
        self.forwards = self.gradients = 0

    def forward(self, x: Images) -> Logits:
        """Return a constant lead for class 0 plus, for each class, the brightness times another factor."""
        z: Logits = x.mean((1, 2, 3))[:, None] * self.way + self.lead
        self.forwards += len(z)
        if z.requires_grad:
            z.register_hook(self._back)  # type: ignore[no-untyped-call]
        return z

    def _back(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


def passes(attack: Attack, classes: int) -> Work:
    """Run the attack on one image, for a network of `classes` classes; preserve the caller's random state."""
    net, place = Unbeaten(classes).eval(), torch.zeros(1, dtype=torch.long)
    with torch.random.fork_rng(_seeded()), torch.enable_grad(), full_precision():
        attack(net, Batch(torch.full((1, *SHAPE), 0.5), place, place, PerImage(0, place)))
    return Work(net.forwards, net.gradients)


def _seeded() -> list[int]:
    """Return the devices whose generators an attack's `torch.manual_seed` would seed."""
    there = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if there else []


_known: dict[str, Work] = {}


def works(sequence: AttackSequence, classes: int) -> dict[str, Work]:
    """Return the passes of each attack of a sequence, without verification; count attacks with equal facts once."""
    found = dict[str, Work]()
    for name, attack in sequence.attacks.items():
        key = digest([name, sequence.facts, sequence.passes, classes], {})
        found[name] = _known[key] = _known.get(key) or passes(attack, classes)
    return found
