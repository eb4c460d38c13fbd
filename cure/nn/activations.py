"""Record the outputs of modules by name while a block runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import nn

from cure.core.tensors import Images, Logits, Tensor


def _once(taps: list[str]) -> list[str]:
    if len(set(taps)) < len(taps):
        raise ValueError("names a module twice")
    return taps


Taps = Annotated[list[str], Field(min_length=1), AfterValidator(_once)]
"""Setting: names of modules."""


@contextmanager
def tapping(
    net: nn.Module, names: list[str], of: Callable[[Tensor], Tensor] = lambda out: out
) -> Iterator[dict[str, Tensor]]:
    """Record `of` the latest output of each named module; the hooks are removed when the block ends.

    Args:
        net: the network.
        names: modules, as `named_modules` names them.
        of: computed from the output; nothing else of it is kept.

    Yields:
        Name -> recorded tensor, filled by the forwards inside the block.
    """
    found: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(module: nn.Module, args: Any, out: Tensor) -> None:
            found[name] = of(out)

        return keep

    hooks = [net.get_submodule(name).register_forward_hook(keeper(name)) for name in names]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def pooled(net: nn.Module, x: Images, taps: list[str]) -> tuple[Logits, dict[str, Tensor]]:
    """Return the logits, and for each tapped module the spatial mean of the ReLU of its output, (n, c)."""
    with tapping(net, taps) as found:
        z = net(x)
    return z, {tap: F.relu(found[tap]).mean(dim=(2, 3), dtype=z.dtype) for tap in taps}
