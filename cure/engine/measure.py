"""Per-example outcomes of a network on a split, clean and under attack."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cure.core.accuracy import right
from cure.core.attack import Attack
from cure.core.batchnorm import scope
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.core.tensors import Flags
from cure.engine.loader import Split


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Eval mode and no gradient to the weights, both restored afterwards."""
    wanted = [(weight, weight.requires_grad) for weight in net.parameters()]
    net.requires_grad_(False)
    try:
        with scope(net, "eval"):
            yield
    finally:
        for weight, wants in wanted:
            weight.requires_grad_(wants)


def outcomes(net: nn.Module, split: Split, attacks: dict[str, Attack], *, batch: int, seed: int) -> dict[str, Flags]:
    """`clean` and each attack -> (n) flags: classified correctly, and under attack still so.

    An image counts as robust only if it is also classified correctly clean. Noise is seeded per image, so the batch
    size decides nothing but speed.
    """
    found: dict[str, list[Flags]] = {name: [] for name in ("clean", *attacks)}
    with frozen(net):
        for x, y, index in split.batches(batch):
            clean = right(net, x, y)
            found["clean"].append(clean)
            for name, attack in attacks.items():
                x_adv = attack(net, Batch(x, y, index, PerImage(seed, index)))
                found[name].append(clean & right(net, x_adv, y))
    return {name: torch.cat(flags).cpu() for name, flags in found.items()}


def accuracies(flags: dict[str, Flags]) -> dict[str, float]:
    """Each outcome's share of true flags, in [0, 1]."""
    return {name: int(flag.sum()) / len(flag) for name, flag in flags.items()}
