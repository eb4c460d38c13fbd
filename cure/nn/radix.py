"""The Triton kernel of radix selection: for each owner, a histogram of one digit of its keys.

Counts are integers, added in any order, so the result is exact and the same in every run.
"""

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

from cure.core.tensors import Tensor

DIGIT = 8
BINS = 1 << DIGIT


def histogram(keys: Tensor, owner: Tensor, prefix: Tensor, shift: int, count: Tensor) -> None:
    """Add to count (n, BINS) the number of keys of each owner with each digit above bit `shift`.

    It counts the keys of (rows, chunk) whose bits above the digit equal the `prefix` of their owner; bits are unsigned.
    """
    bits = 8 * keys.element_size()
    _kernel[(len(keys),)](keys, owner, prefix, count, shift, bits - shift - DIGIT, keys.shape[1], DIGIT, BINS)


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    keys, owner, prefix, count, shift, higher, CHUNK: tl.constexpr, DIGIT: tl.constexpr, BINS: tl.constexpr
):
    """Process one row per program; `higher` bits are above the digit."""
    row = tl.program_id(0)
    who = tl.load(owner + row)
    key = tl.load(keys + row * CHUNK + tl.arange(0, CHUNK)).to(tl.int64)
    digit = (key >> shift) & (BINS - 1)
    above = (key >> (shift + DIGIT)) & ((tl.full((), 1, tl.int64) << higher) - 1)
    # keys with another prefix are counted in one more bin, which is dropped
    bins = tl.histogram(tl.where(above == tl.load(prefix + who), digit, BINS).to(tl.int32), 2 * BINS)
    places = tl.arange(0, 2 * BINS)
    tl.atomic_add(count + who * BINS + places, bins.to(tl.int64), mask=places < BINS)
