"""Memory that runs out, for which training names a batch to try and an evaluation takes it; memory that is kept."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from cure.errors import UserError

T = TypeVar("T")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
SIGNS = ("DefaultCPUAllocator", "ALLOC_FAILED")  # of PyTorch's CPU allocator; of cuBLAS and cuDNN


def exhausted(problem: RuntimeError | MemoryError) -> bool:
    """Whether the error says that a device or this machine has no memory left."""
    named = isinstance(problem, torch.OutOfMemoryError | MemoryError)
    return named or any(sign in str(problem) for sign in SIGNS)


def _said(problem: Exception) -> str:
    return " ".join(str(problem).split(". ")[0].split())[:160] or type(problem).__name__


@contextmanager
def fitting(key: str, batch: int) -> Iterator[None]:
    """Training inside: an end of the memory is refused with the batch size to try under `key` of params.yaml."""
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
    """`work(batch)`; as often as memory runs out, from the start with half the batch, which stderr is told.

    Processes that share the work must have one batch: there an end of the memory is refused.
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
                f"{label}: a process has no memory for {batch} images at once ({why}), and all must have as many; "
                f"try half as many in section attack, key batch, or one process"
            )
        if batch == 1:
            raise UserError(f"{label}: not even one image fits into the memory ({why}); take a device with more memory")
        batch //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(f"{label}: memory ran out ({why}); again with batches of {batch}", file=sys.stderr, flush=True)


def keep_freed_memory() -> None:
    """Let the GNU C library keep what a step frees for the next one: up to 1 GiB, and blocks of up to 1 GiB.

    By default it returns such memory to the system, and a step spends a sixth of its time on getting it again; in a
    child of Dask, whose environment asks for more returns, half of it. Other C libraries have no such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for setting, size in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, 1 << 30), (M_TOP_PAD, 1 << 26)):
        if mallopt:
            mallopt(setting, size)
