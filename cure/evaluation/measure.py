"""Measure per-image outcomes of a network on a split, clean and under attack."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cure.core.attack import Attack
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.core.tensors import Flags, Tensor
from cure.data.loader import Split
from cure.errors import UserError
from cure.nn.accuracy import right
from cure.nn.batchnorm import scope


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Use eval mode without gradients to the weights inside the block; restore both afterwards."""
    wanted = [(weight, weight.requires_grad) for weight in net.parameters()]
    net.requires_grad_(False)
    try:
        with scope(net, "eval"):
            yield
    finally:
        for weight, wants in wanted:
            weight.requires_grad_(wants)


@contextmanager
def finite(net: nn.Module) -> Iterator[None]:
    """Raise UserError after the block if any logits were not finite; no batch waits for the device."""
    seen: list[Tensor] = []
    hook = net.register_forward_hook(lambda *call: seen.append(call[2].detach().isfinite().all()))
    try:
        yield
    finally:
        hook.remove()
    if not bool(torch.stack(seen).all()):
        raise UserError("the network's logits are not finite on some images, so its predictions mean nothing")


def outcomes(net: nn.Module, split: Split, attacks: dict[str, Attack], *, batch: int, seed: int) -> dict[str, Flags]:
    """Return (n) flags of `clean` and of each attack: classified correctly, and still so under attack.

    An image counts as robust only if it is also classified correctly clean. Noise is seeded per image, so the batch
    size affects nothing but speed. Raises UserError for logits that are not finite.
    """
    found: dict[str, list[Flags]] = {name: [] for name in ("clean", *attacks)}
    watched = nn.Sequential(net)  # a hook on the network itself would keep attacks from using its folded copy
    with frozen(net), finite(watched):
        for x, y, index in split.batches(batch):
            clean = right(watched, x, y)
            found["clean"].append(clean)
            for name, attack in attacks.items():
                x_adv = attack(net, Batch(x, y, index, PerImage(seed, index)))
                found[name].append(clean & right(watched, x_adv, y))
    together = torch.stack([torch.cat(flags) for flags in found.values()]).cpu()  # waits once for the device
    return dict(zip(found, together, strict=True))


def accuracies(flags: dict[str, Flags]) -> dict[str, float]:
    """Return each outcome's share of true flags, in [0, 1]."""
    return {name: int(flag.sum()) / len(flag) for name, flag in flags.items()}
