"""Exact order statistics of many tensors at once: the value of a given rank, counted from 0.

A GPU must not wait for the host, and kthvalue has no deterministic kernel there. So the value is built bit by bit, from
the highest, by counting: it is the largest v of which at most `rank` entries are smaller. On integers that are ordered
as the floats are, this takes as many counts as a float has bits, whatever the data, of all tensors together.
"""

from itertools import starmap

import numpy as np
import torch

from cure.core.tensors import Tensor

CHUNK = 4096
_INTEGERS = {4: torch.int32, 8: torch.int64}


def order_statistics(values: list[Tensor], ranks: list[int]) -> list[Tensor]:
    """Of each tensor the value that has this rank, a scalar; NaN ranks last, on CUDA first where its sign is minus."""
    return (counted if values[0].is_cuda else partitioned)(values, ranks)


def partitioned(values: list[Tensor], ranks: list[int]) -> list[Tensor]:
    """By numpy's introselect, which uses what vector instructions the processor has."""

    def one(value: Tensor, rank: int) -> Tensor:
        return torch.from_numpy(np.partition(value.detach().flatten().numpy(), rank)[rank : rank + 1])[0]

    return list(starmap(one, zip(values, ranks, strict=True)))


def counted(values: list[Tensor], ranks: list[int]) -> list[Tensor]:
    """By counting, bit by bit; all tensors have one precision and one device."""
    keys = [_ordered(value.detach().flatten()) for value in values]
    device, sign = keys[0].device, torch.iinfo(keys[0].dtype).min
    filled = [torch.cat([key, key.new_full((-len(key) % CHUNK,), -(sign + 1))]) for key in keys]
    rows = torch.cat(filled).view(-1, CHUNK)
    sizes = [-(-len(key) // CHUNK) for key in keys]
    owner = torch.cat([torch.full((size,), i, device=device) for i, size in enumerate(sizes)])
    member = owner == torch.arange(len(keys), device=device)[:, None]
    rank = torch.cat([torch.full((1,), rank, device=device) for rank in ranks])
    found = torch.full_like(rank, sign, dtype=keys[0].dtype)
    for bit in reversed(range(torch.iinfo(found.dtype).bits)):
        tried = found | (1 << bit) if 1 << bit < -sign else found ^ sign
        smaller = (rows < tried[owner, None]).sum(dim=1)
        found = torch.where((member * smaller).sum(dim=1) <= rank, tried, found)
    return list(_mirrored(found).view(values[0].dtype))


def _ordered(value: Tensor) -> Tensor:
    """Integers in the order of the floats; both zeros are one."""
    return _mirrored((value + 0.0).view(_INTEGERS[value.element_size()]))


def _mirrored(bits: Tensor) -> Tensor:
    """Negative floats are stored by size; turned round, they ascend. Its own inverse."""
    info = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (info.bits - 1)) & info.max)
