"""Looking inside a forward pass, by module names, for as long as a block lasts."""

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
"""Modules by name, as a setting."""


@contextmanager
def tapping(
    net: nn.Module, names: list[str], of: Callable[[Tensor], Tensor] = lambda out: out
) -> Iterator[dict[str, Tensor]]:
    """`of` the latest output of each named module, and no more of it; the hooks are gone when the block ends."""
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
    """Logits, and of each tapped module the spatial mean of the ReLU of its output, (n, c)."""
    with tapping(net, taps) as found:
        z = net(x)
    return z, {tap: F.relu(found[tap]).mean(dim=(2, 3), dtype=z.dtype) for tap in taps}
