"""Train one network in several processes (ranks), each on its rows of every batch; without a group there is one rank.

With n_r of n images on rank r of R, a mean over the batch is the mean over ranks of (R n_r / n) mean_r. The same holds
for its gradient. Masks, rewards and other decisions about a whole batch are made after that mean.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
import torch.distributed as group
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cure.core.tensors import Tensor

T = TypeVar("T")
_images: ContextVar[int | None] = ContextVar("images", default=None)


def count() -> int:
    """Return R, the number of ranks."""
    return group.get_world_size() if group.is_initialized() else 1


def rank() -> int:
    """Return r, the rank of this process, from 0."""
    return group.get_rank() if group.is_initialized() else 0


def rows(n: int) -> slice:
    """Return this rank's rows of n: a contiguous slice, whose length differs by at most one between ranks."""
    size, more = divmod(n, count())
    start = rank() * size + min(rank(), more)
    return slice(start, start + size + (rank() < more))


@contextmanager
def batch_of(images: int) -> Iterator[None]:
    """Set the number of images of the batch on all ranks, for the calls of `part` inside."""
    token = _images.set(images)
    try:
        yield
    finally:
        _images.reset(token)


def part(values: Tensor) -> Tensor:
    """Return (R n_r / n) mean_r of one value per image (n_r). Its `mean` over ranks is the mean over the batch.

    With several ranks it must be called inside `batch_of`.
    """
    if count() == 1:
        return values.mean()
    images = _images.get()
    assert images is not None
    return values.sum() * (count() / images)


def mean(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each tensor over ranks, by one all-reduce; equal on every rank, and detached from autograd.

    Each result keeps the memory format of its tensor, since fused optimisers require gradients in that of the weights.
    """
    if count() == 1 or not tensors:
        return list(tensors)
    flat = torch.cat([t.detach().flatten() for t in tensors])
    group.all_reduce(flat)
    parts = torch.split(flat.div_(count()), [t.numel() for t in tensors])
    return [torch.empty_like(t, requires_grad=False).copy_(p.view_as(t)) for p, t in zip(parts, tensors, strict=True)]


def everywhere(flags: Tensor, places: slice, n: int) -> Tensor:
    """Gather flags (n_r) of all ranks into one bool tensor (n); the slices `places` of two ranks must not overlap."""
    if count() == 1:
        return flags
    whole = torch.zeros(n, dtype=torch.uint8, device=flags.device)
    whole[places] = flags.to(torch.uint8)
    group.all_reduce(whole)
    return whole.bool()


def agree(net: nn.Module) -> None:
    """Replace running statistics, which each rank computed from its own rows, by their mean over ranks, in place."""
    if count() > 1:
        norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
        known = [t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None]
        with torch.no_grad():
            for statistic, common in zip(known, mean(known), strict=True):
                statistic.copy_(common)


def agreed(value: T) -> T:
    """Return the value of the first rank on every rank."""
    said = [value]
    if count() > 1:
        group.broadcast_object_list(said)
    return said[0]


def wait() -> None:
    """Wait until every rank has called this."""
    if count() > 1:
        group.barrier()
