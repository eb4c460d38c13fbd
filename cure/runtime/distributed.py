"""Several processes (ranks) that train one network, each on its rows of every batch; without a group, one rank.

With n_r of n images on rank r of R, a mean over the batch is the mean over ranks of (R n_r / n) mean_r, and so is its
gradient. Whatever a step decides by a whole batch, masks and rewards included, is decided after that mean.
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
    """R."""
    return group.get_world_size() if group.is_initialized() else 1


def rank() -> int:
    """r, from 0."""
    return group.get_rank() if group.is_initialized() else 0


def rows(n: int) -> slice:
    """This rank's rows of n: contiguous, and in number at most one apart between ranks."""
    size, more = divmod(n, count())
    start = rank() * size + min(rank(), more)
    return slice(start, start + size + (rank() < more))


@contextmanager
def batch_of(images: int) -> Iterator[None]:
    """Inside, the values given to `part` are of a batch of so many images on all ranks."""
    token = _images.set(images)
    try:
        yield
    finally:
        _images.reset(token)


def part(values: Tensor) -> Tensor:
    """(R n_r / n) mean_r: the mean of one value per image, as far as it is this rank's; `mean` completes it."""
    if count() == 1:
        return values.mean()
    images = _images.get()
    assert images is not None
    return values.sum() * (count() / images)


def mean(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor's mean over ranks, in one collective; the same on every rank, and constant to autograd.

    In the memory format of the tensor, since fused optimisers take gradients that lie as their weights do.
    """
    if count() == 1 or not tensors:
        return list(tensors)
    flat = torch.cat([t.detach().flatten() for t in tensors])
    group.all_reduce(flat)
    parts = torch.split(flat.div_(count()), [t.numel() for t in tensors])
    return [torch.empty_like(t, requires_grad=False).copy_(p.view_as(t)) for p, t in zip(parts, tensors, strict=True)]


def everywhere(flags: Tensor, places: slice, n: int) -> Tensor:
    """(n) bool from every rank's flags at its places, none twice."""
    if count() == 1:
        return flags
    whole = torch.zeros(n, dtype=torch.uint8, device=flags.device)
    whole[places] = flags.to(torch.uint8)
    group.all_reduce(whole)
    return whole.bool()


def agree(net: nn.Module) -> None:
    """Replace running statistics, which each rank took from its own rows, by their mean over ranks."""
    if count() > 1:
        norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
        known = [t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None]
        with torch.no_grad():
            for statistic, common in zip(known, mean(known), strict=True):
                statistic.copy_(common)


def agreed(value: T) -> T:
    """What the first rank says."""
    said = [value]
    if count() > 1:
        group.broadcast_object_list(said)
    return said[0]


def wait() -> None:
    """Until every rank is here."""
    if count() > 1:
        group.barrier()
