"""Handle running out of memory, and keep freed memory for the next step.

Training ends with an error that suggests a batch size. An evaluation continues with half the batch.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from cure.errors import UserError

T = TypeVar("T")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
SIGNS = ("DefaultCPUAllocator", "ALLOC_FAILED")  # in errors of PyTorch's CPU allocator; of cuBLAS and cuDNN


def exhausted(problem: RuntimeError | MemoryError) -> bool:
    """Return whether the error means that a device or this machine has no memory left."""
    named = isinstance(problem, torch.OutOfMemoryError | MemoryError)
    return named or any(sign in str(problem) for sign in SIGNS)


def _said(problem: Exception) -> str:
    return " ".join(str(problem).split(". ")[0].split())[:160] or type(problem).__name__


@contextmanager
def fitting(key: str, batch: int) -> Iterator[None]:
    """Turn an out-of-memory error of the block into a UserError that suggests half the batch for `key`."""
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        if not exhausted(problem):
            raise
        smaller = f"try {key}: {batch // 2}, which is another training, or" if batch > 1 else "take"
        raise UserError(
            f"{key}: {batch} images at once do not fit into the memory ({_said(problem)}); {smaller} a device "
            "with more memory. Earlier results and finished epochs are kept"
        ) from None


def halving(batch: int, work: Callable[[int], T], label: str, shared: bool = False) -> T:
    """Return `work(batch)`; whenever memory runs out, print that to stderr and restart with half the batch.

    Raises UserError if one image does not fit. With `shared` work, all processes must use the same batch, so the first
    out-of-memory error raises UserError.
    """
    while True:
        try:
            return work(batch)
        except (RuntimeError, MemoryError) as problem:
            if not exhausted(problem):
                raise
            why = _said(problem)
        if shared:
            raise UserError(
                f"{label}: a process has no memory for {batch} images at once ({why}), and all need the same number; "
                f"try half as many in section attack, key batch, or set run.processes to 1"
            )
        if batch == 1:
            raise UserError(f"{label}: not even one image fits into the memory ({why}); take a device with more memory")
        batch //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(f"{label}: memory ran out ({why}); again with batches of {batch}", file=sys.stderr, flush=True)


def keep_freed_memory() -> None:
    """Let the GNU C library keep freed memory for the next step: up to 1 GiB, in blocks of up to 1 GiB.

    By default it returns such memory to the system, and requesting it again takes a sixth of a step's time. In a child
    of Dask, whose environment lowers the threshold, it takes half. Other C libraries do not have these settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for setting, size in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, 1 << 30), (M_TOP_PAD, 1 << 26)):
        if mallopt:
            mallopt(setting, size)
