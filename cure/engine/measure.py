"""Per-example outcomes of a network on a split, clean and under attack."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cure.core.batchnorm import scope
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.core.tensors import Flags, Images, Tensor
from cure.engine.loader import Split
from cure.errors import Refused

Attack = Callable[[nn.Module, Batch], Images]


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


def outcomes(
    net: nn.Module,
    split: Split,
    attacks: dict[str, Attack],
    *,
    batch: int,
    seed: int,
    tick: Callable[[str], None] | None = None,
) -> dict[str, Flags]:
    """`clean` and each attack -> (n) flags: classified correctly, and under attack still so.

    An image counts as robust only if it is also classified correctly clean. Noise is seeded per image, so the batch
    size decides nothing but speed. `tick` is called after each attack of each batch. Logits must be finite.
    """
    found: dict[str, list[Flags]] = {name: [] for name in ("clean", *attacks)}
    finite: list[Tensor] = []
    with frozen(net):
        for x, y, index in split.batches(batch):
            clean = _correct(net, x, y, finite)
            found["clean"].append(clean)
            for name, attack in attacks.items():
                x_adv = attack(net, Batch(x, y, index, PerImage(seed, index)))
                found[name].append(clean & _correct(net, x_adv, y, finite))
                if tick is not None:
                    tick(name)
    if not bool(torch.stack(finite).all()):
        raise Refused("the network's logits are not finite on some images, so its predictions mean nothing")
    return {name: torch.cat(flags).cpu() for name, flags in found.items()}


def accuracies(flags: dict[str, Flags]) -> dict[str, float]:
    """Each outcome's share of true flags, in [0, 1]."""
    return {name: int(flag.sum()) / len(flag) for name, flag in flags.items()}


def _correct(net: nn.Module, x: Images, y: torch.Tensor, finite: list[Tensor]) -> Flags:
    with torch.no_grad():
        z = net(x)
    finite.append(z.isfinite().all())  # looked at once, at the end
    right: Flags = z.argmax(dim=1) == y
    return right
