"""Run PGD as one CUDA graph: the host launches all kernels at once, since it is slower than a small network's kernels.

A graph computes on the tensors and with the numbers that it was recorded with. So everything that an attack reads
besides its network is copied in, and everything that decides its kernels is part of the graph's key.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from cure.core.network import Network
from cure.core.tensors import Tensor
from cure.nn.batchnorm import SplitBatchNorm2d
from cure.nn.folding.folded_copy import has_hooks
from cure.runtime import distributed

Inputs = dict[str, Tensor]
Ascent = Callable[[Inputs], Tensor]

_wanted: ContextVar[bool] = ContextVar("wanted", default=False)
_recorded: "WeakKeyDictionary[nn.Module, dict[Hashable, Recorded | None]]" = WeakKeyDictionary()
_shared: dict[str, Any] = {}  # the stream of all recordings, and the memory of all graphs


@contextmanager
def graphs(wanted: bool) -> Iterator[None]:
    """Turn the recording and replaying of repeated attacks on a GPU on or off inside the block."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


class Fixed:
    """A mark of an objective or a stop rule that is a value: equal ones compute the same from network and batch."""


def ascended(net: nn.Module, kind: Hashable, inputs: Inputs, ascent: Ascent) -> Tensor:
    """Return ascent(inputs), from the second call of its kind on through a graph if graphs are on.

    `kind` holds everything that decides the ascent besides its inputs and the present state of `net`; None means no
    graph. One of the inputs is named `x`.
    """
    if kind is None or not _recordable(net, inputs):
        return ascent(inputs)
    shapes = tuple((name, t.shape, t.dtype, t.stride()) for name, t in inputs.items())
    precision = torch.is_autocast_enabled(inputs["x"].device.type), torch.backends.cudnn.allow_tf32
    key = (kind, shapes, _state(net), precision)
    known = _recorded.setdefault(net, {})
    if key not in known:  # it may be the only call: the rest of a split, or a network of one step
        known[key] = None
        return ascent(inputs)
    graph = known[key] = known[key] or Recorded(net, inputs, ascent)
    return graph(inputs)


def _recordable(net: nn.Module, inputs: Inputs) -> bool:
    """Return whether PGD may become a graph: on a `Network` without hooks that waits for no other process."""
    if not _wanted.get() or not isinstance(net, Network) or has_hooks(net):
        return False
    alone = distributed.count() == 1 or not net.training
    return alone and all(t.is_cuda for t in inputs.values())


def _state(net: nn.Module) -> Hashable:
    """Return the addresses of the network's tensors, and the modes that decide how it computes with them."""
    places = tuple(t.data_ptr() for t in chain(net.parameters(), net.buffers()))
    modes = tuple((module.training, getattr(module, "track_running_stats", None)) for module in net.modules())
    return places, modes, tuple(module.active for module in net.modules() if isinstance(module, SplitBatchNorm2d))


class Recorded:
    """One graph with the tensors that it reads and the one that it writes."""

    def __init__(self, net: nn.Module, inputs: Inputs, ascent: Ascent) -> None:
        self.inputs = {name: t.clone() for name, t in inputs.items()}
        moved = [(t, t.clone()) for t in net.buffers()] if net.training else []  # batch statistics move running ones
        stream = _shared.setdefault("stream", torch.cuda.Stream())  # type: ignore[no-untyped-call]
        pool = _shared.setdefault("pool", torch.cuda.graph_pool_handle())  # results leave it before another runs
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries are initialised before the recording
            ascent(self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.empty_cache()
        self.graph = torch.cuda.CUDAGraph()
        # other threads may continue, such as the one that saves
        with torch.cuda.graph(self.graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self.found = ascent(self.inputs)
        with torch.no_grad():
            for t, before in moved:
                t.copy_(before)

    def __call__(self, inputs: Inputs) -> Tensor:
        """Copy the inputs in, replay, and copy the result out."""
        for name, t in inputs.items():
            self.inputs[name].copy_(t)
        self.graph.replay()
        return self.found.clone()
