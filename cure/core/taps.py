"""Looking inside a forward pass, by module names, for as long as a block lasts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from cure.core.tensors import Tensor


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
