"""Count the cost of a run other than time: passes, operations, arithmetic, and bytes held for backward passes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tools.passes import Passes

PROBES = {"small_resnet": (32, 16, 3, 3), "resnet18": (128, 64, 3, 3)}  # the convolution by which passes are counted


class Operations(TorchDispatchMode):
    """Counts aten operations without views, about the kernels that a GPU would launch, and their arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.count += int(not func.is_view)
        if counted := flop_registry.get(func.overloadpacket):
            self.flops += counted(*args, **(kwargs or {}), out_val=out)
        return out


class Held:
    """Measures the most bytes that autograd keeps at once for backward passes, each storage once.

    Weights are left out, since they are in memory anyway.
    """

    def __init__(self) -> None:
        self.most = self.now = 0
        self.holders: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: _Kept(self, t), lambda kept: kept.tensor)

    def __enter__(self) -> "Held":
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def add(self, tensor: Tensor, by: int) -> None:
        place, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        before = self.holders.get(place, 0)
        self.holders[place] = before + by
        if not before or not self.holders[place]:
            self.now += by * size
            self.most = max(self.most, self.now)


class _Kept:
    """A saved tensor, counted for as long as its graph exists."""

    def __init__(self, held: Held, tensor: Tensor) -> None:
        self.held = None if isinstance(tensor, nn.Parameter) else held
        self.tensor = tensor.detach()  # the tensor itself may lead back to its graph, which would then never be freed
        if self.held:
            self.held.add(tensor, 1)

    def __del__(self) -> None:
        if self.held:
            self.held.add(self.tensor, -1)


def cost(act: Callable[[], object], network: str, count: int) -> dict[str, float]:
    """Return passes per image, operations, and bytes held per image, for one call."""
    with Passes(PROBES[network]) as passes:
        act()
    with Operations() as operations:
        act()
    with Held() as held:
        act()
    return {"passes": passes.per_image(count), "operations": operations.count, "held": held.most / count}
