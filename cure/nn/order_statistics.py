"""Exact order statistics of many tensors at once: the value of a given rank, counted from 0.

A GPU must not wait for the host, and kthvalue has no deterministic kernel there. So the tensors are placed side by side
in rows of `CHUNK`. The value is built digit by digit, from the highest, by counting: on integers in the order of the
floats, it is the largest v with at most `rank` smaller entries. A digit has one bit in PyTorch's own operations, or
eight in a Triton kernel where Triton is available. Both count integers, so both are exact.
"""

import shutil
from functools import cache
from importlib.util import find_spec
from itertools import starmap

import numpy as np
import torch

from cure.core.tensors import Tensor

CHUNK = 4096
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
_COMPILERS = ("cc", "gcc", "clang")  # Triton's launcher needs one


def order_statistics(values: list[Tensor], ranks: list[int]) -> list[Tensor]:
    """Return the value of a rank of each tensor, as scalars. NaN ranks last, but first on CUDA if it is negative."""
    if not values[0].is_cuda:
        return partitioned(values, ranks)
    packing = packing_of(values)
    return list(packing.order_statistics(packing.packed(values), ranks))


def partitioned(values: list[Tensor], ranks: list[int]) -> list[Tensor]:
    """Compute `order_statistics` with numpy's introselect, which uses the processor's vector instructions."""

    def one(value: Tensor, rank: int) -> Tensor:
        return torch.from_numpy(np.partition(value.detach().flatten().numpy(), rank)[rank : rank + 1])[0]

    return list(starmap(one, zip(values, ranks, strict=True)))


Form = tuple[torch.Size, tuple[int, ...]]


@cache
def _packing(forms: tuple[Form, ...], dtype: torch.dtype, device: torch.device) -> "Packing":
    return Packing(forms, dtype, device)


def packing_of(values: list[Tensor]) -> "Packing":
    """Return the packing of tensors with these shapes and strides; they share a precision and a device."""
    return _packing(tuple((t.shape, t.stride()) for t in values), values[0].dtype, values[0].device)


class Packing:
    """Tensors side by side in rows, each from the beginning of a row, so that one kernel processes all of them."""

    def __init__(self, forms: tuple[Form, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.forms, self.dtype, self.device = forms, dtype, device
        sizes = [shape.numel() for shape, _ in forms]
        rows = [-(-size // CHUNK) for size in sizes]
        self.starts = [CHUNK * sum(rows[:i]) for i in range(len(rows))]
        self.rows, self.sizes = sum(rows), sizes
        owners = [torch.full((count,), i, device=device) for i, count in enumerate(rows)]
        self.owner = torch.cat(owners)
        self.ranks = cache(self._ranks)

    def _ranks(self, *ranks: int) -> Tensor:
        return torch.cat([torch.full((1,), rank, device=self.device) for rank in ranks])

    def views(self, rows: Tensor) -> list[Tensor]:
        """Return the tensors in the rows, in their own shapes and formats."""
        flat, places = rows.view(-1), zip(self.forms, self.sizes, self.starts, strict=True)
        return [flat[at : at + size].as_strided(shape, stride) for (shape, stride), size, at in places]

    def packed(self, values: list[Tensor]) -> Tensor:
        """Return (rows, CHUNK) with the values, filled up with NaN of the highest rank."""
        highest = torch.iinfo(_INTEGERS[self.dtype]).max
        filled = torch.full((self.rows, CHUNK), highest, dtype=_INTEGERS[self.dtype], device=self.device)
        rows = filled.view(self.dtype)
        torch._foreach_copy_(self.views(rows), [value.detach() for value in values])
        return rows

    def order_statistics(self, rows: Tensor, ranks: list[int], *, together: bool = False) -> Tensor:
        """Return each tensor's value of its rank; with `together`, one value of one rank over all tensors."""
        owner = torch.zeros_like(self.owner) if together else self.owner
        keys, rank = _ordered(rows), self.ranks(*ranks)
        return _mirrored((selected if _triton() else counted)(keys, owner, rank)).view(self.dtype)

    def reach(self, rows: Tensor, limits: Tensor) -> Tensor:
        """Return (rows, CHUNK) bool: whether an entry is at least the limit of its tensor, or the one limit of all."""
        return rows >= (limits[self.owner, None] if len(limits) > 1 else limits)


def counted(keys: Tensor, owner: Tensor, rank: Tensor) -> Tensor:
    """Return (n): the key of each owner's rank, by one count of all rows for each bit."""
    sign = torch.iinfo(keys.dtype).min
    member = owner == torch.arange(len(rank), device=keys.device)[:, None]
    found = torch.full_like(rank, sign, dtype=keys.dtype)
    for bit in reversed(range(torch.iinfo(keys.dtype).bits)):
        tried = found | (1 << bit) if 1 << bit < -sign else found ^ sign
        smaller = (keys < tried[owner, None]).sum(dim=1)
        found = torch.where((member * smaller).sum(dim=1) <= rank, tried, found)
    return found


def selected(keys: Tensor, owner: Tensor, rank: Tensor) -> Tensor:
    """Compute `counted` by radix selection: a histogram of eight bits over the entries that share the higher ones."""
    from cure.nn.radix import BINS, DIGIT, histogram

    sign = torch.iinfo(keys.dtype).min
    keys = keys ^ sign  # so that the highest bit, the sign, counts upwards as well
    prefix, left = torch.zeros_like(rank), rank
    for shift in reversed(range(0, torch.iinfo(keys.dtype).bits, DIGIT)):
        count = torch.zeros((len(rank), BINS), dtype=torch.int64, device=keys.device)
        histogram(keys, owner, prefix, shift, count)
        below = count.cumsum(dim=1)
        digit = (below <= left[:, None]).sum(dim=1)
        left = left - torch.where(digit > 0, below.gather(1, (digit - 1).clamp(min=0)[:, None])[:, 0], 0)
        prefix = (prefix << DIGIT) | digit
    return prefix.to(keys.dtype) ^ sign


@cache
def _triton() -> bool:
    """Return whether Triton can compile for this process' GPU."""
    there: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return there and find_spec("triton") is not None and any(map(shutil.which, _COMPILERS))


def _ordered(value: Tensor) -> Tensor:
    """Return integers in the order of the floats; both zeros become one."""
    return _mirrored((value + 0.0).view(_INTEGERS[value.dtype]))


def _mirrored(bits: Tensor) -> Tensor:
    """Reverse the order of negative floats, which are stored by size, so that they ascend. It is its own inverse."""
    info = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (info.bits - 1)) & info.max)
