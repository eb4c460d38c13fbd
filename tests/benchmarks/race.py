"""Two codes for one thing, timed in turn, and what a run costs besides time.

On a CPU the clock is the process time of one thread, which other processes hardly move; on CUDA it is the time between
two synchronisations. Every round runs the other code and then ours; what counts is the median of the rounds' ratios.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cure.core.passes import Passes
from cure.engine.checkpoint import build

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CUDA = DEVICE.type == "cuda"
NETWORKS = {"small_resnet": {"width": 16}, "resnet18": {}}
PROBES = {"small_resnet": (32, 16, 3, 3), "resnet18": (128, 64, 3, 3)}  # the convolution by which passes are counted


def clock() -> float:
    """Seconds."""
    if CUDA:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def timed(act: Callable[[], object]) -> float:
    begin = clock()
    act()
    return clock() - begin


def fresh(network: str, seed: int = 0) -> nn.Module:
    """A network for 32x32 colour images with random weights whose batch norms and biases have seen images."""
    torch.manual_seed(seed)
    net = build(network, NETWORKS[network], 3, 10).to(DEVICE)
    with torch.no_grad():
        net.train()(images(64))
        net.eval().linear.bias -= net(images(64)).mean(0)
    return net.train()


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def race(
    benchmark: Any,
    ours: Callable[..., object],
    theirs: dict[str, Callable[..., object]],
    *,
    rounds: int,
    warm: bool = True,
    ready: Callable[[], tuple[Any, ...]] = tuple,
    **facts: Any,
) -> None:
    """Time `ours` against each of `theirs`; `ready` makes what both are called with, outside the timing.

    A first round is thrown away, unless the caller has called everything once (`warm` off).
    """
    spent: dict[str, list[float]] = {name: [] for name in theirs}

    def before() -> tuple[tuple[Any, ...], dict[str, Any]]:
        for name, code in theirs.items():
            given = ready()
            spent[name].append(timed(lambda code=code, given=given: code(*given)))
        return ready(), {}

    benchmark.pedantic(ours, setup=before, rounds=rounds, warmup_rounds=int(warm))
    mine = benchmark.stats.stats.data
    benchmark.extra_info |= facts | {
        "device": torch.cuda.get_device_name() if CUDA else "cpu",
        "torch": torch.__version__,
        "seconds": mine,
        "ratios": {
            name: [m / t for m, t in zip(mine, times[int(warm) :], strict=True)] for name, times in spent.items()
        },
    }
    if CUDA:
        benchmark.extra_info["peak"] = [peak(ours, ready), *(peak(code, ready) for code in theirs.values())]


def peak(act: Callable[..., object], ready: Callable[[], tuple[Any, ...]] = tuple) -> int:
    """Bytes of CUDA memory at the highest, what lay there before included."""
    given = ready()
    torch.cuda.reset_peak_memory_stats()
    act(*given)
    return torch.cuda.max_memory_allocated()


class Operations(TorchDispatchMode):
    """Counts aten operations, views aside, about the kernels that a GPU would launch, and their arithmetic."""

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
    """While active: the most bytes at once that autograd keeps for backward passes, each storage once.

    Weights are left out, since they are there anyway.
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
    """A saved tensor, counted for as long as its graph lives."""

    def __init__(self, held: Held, tensor: Tensor) -> None:
        self.held = None if isinstance(tensor, nn.Parameter) else held
        self.tensor = tensor.detach()  # the tensor itself may lead back to its graph, which then would never be freed
        if self.held:
            self.held.add(tensor, 1)

    def __del__(self) -> None:
        if self.held:
            self.held.add(self.tensor, -1)


def cost(act: Callable[[], object], network: str, count: int) -> dict[str, float]:
    """Passes per image, operations, and bytes held per image, of one call."""
    with Passes(PROBES[network]) as passes:
        act()
    with Operations() as operations:
        act()
    with Held() as held:
        act()
    return {"passes": passes.per_image(count), "operations": operations.count, "held": held.most / count}
