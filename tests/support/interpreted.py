"""Run Triton's kernels in its interpreter, on the CPU."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cure.nn import order_statistics


@contextmanager
def interpreted() -> Iterator[None]:
    """Select order statistics with the kernel of cure/nn/radix.py inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # read when a kernel is defined
        patch.setattr(order_statistics, "_triton", lambda: True)
        if "cure.nn.radix" not in sys.modules:
            importlib.import_module("cure.nn.radix")
        yield
