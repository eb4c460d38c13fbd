"""Time two codes for the same task in turn.

On a CPU the clock is the process time of one thread, which other processes hardly affect; on CUDA it is the time
between two synchronisations. Every round runs the other code and then ours; the result is the median of the rounds'
ratios.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cure.storage.checkpoint import build

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CUDA = DEVICE.type == "cuda"
NETWORKS = {"small_resnet": {"width": 16}, "resnet18": {}}


def clock() -> float:
    """Return the time in seconds."""
    if CUDA:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def timed(act: Callable[[], object]) -> float:
    begin = clock()
    act()
    return clock() - begin


def fresh(network: str, seed: int = 0) -> nn.Module:
    """Build a network for 32x32 colour images with random weights, its batch norms and biases fitted to images."""
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
    """Time `ours` against each of `theirs`; `ready` makes the arguments of both, outside the timing.

    A first round is discarded, unless the caller has called everything once (`warm` off).
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
    """Return the peak of CUDA memory in bytes, including memory allocated before."""
    given = ready()
    torch.cuda.reset_peak_memory_stats()
    act(*given)
    return torch.cuda.max_memory_allocated()
