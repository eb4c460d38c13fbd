"""A whole ascent as one CUDA graph: the host starts all its kernels at once, since a small network's outrun it.

A graph computes on the tensors that it was recorded with. So the images, labels and start are copied into it, the
folded copy follows its network in place, and an objective must be made of nothing else.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from cure.adversarial.pgd_loop import Objective, pgd_loop
from cure.core.method import Batch
from cure.core.tensors import Images

_wanted: ContextVar[bool] = ContextVar("wanted", default=False)
_recorded: "WeakKeyDictionary[nn.Module, dict[Any, Recorded]]" = WeakKeyDictionary()


@contextmanager
def graphs(wanted: bool) -> Iterator[None]:
    """Inside, ascents on a GPU are recorded once for each shape and replayed."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def can_record(x: Images) -> bool:
    """Return whether an ascent from these images is to be a graph."""
    return _wanted.get() and x.is_cuda


def replayed(
    attacked: nn.Module,
    batch: Batch,
    start: Images,
    objective: Callable[[nn.Module, Batch], Objective],
    bounds: dict[str, Any],
) -> Images:
    """Return what `pgd_loop` finds on a folded copy from `start`; record it at the first call of its kind."""
    half = torch.is_autocast_enabled(batch.x.device.type)
    kind = (batch.x.shape, batch.x.dtype, batch.x.stride(), objective, tuple(sorted(bounds.items())), half)
    graphs_of = _recorded.setdefault(attacked, {})
    if kind not in graphs_of:
        graphs_of[kind] = Recorded(attacked, batch, start, objective, bounds)
    return graphs_of[kind](batch, start)


class Recorded:
    """One graph with the tensors that it reads and the one that it writes."""

    def __init__(
        self,
        attacked: nn.Module,
        batch: Batch,
        start: Images,
        objective: Callable[[nn.Module, Batch], Objective],
        bounds: dict[str, Any],
    ) -> None:
        self.x, self.y, self.start = batch.x.clone(), batch.y.clone(), start.clone()
        still = dataclasses.replace(batch, x=self.x, y=self.y)
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries are set up before the recording
            pgd_loop(attacked, self.x, self.start, objective(attacked, still), **bounds)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.found = pgd_loop(attacked, self.x, self.start, objective(attacked, still), **bounds)

    def __call__(self, batch: Batch, start: Images) -> Images:
        """Copy in, replay, copy out."""
        for into, given in ((self.x, batch.x), (self.y, batch.y), (self.start, start)):
            into.copy_(given)
        self.graph.replay()
        return self.found.clone()
