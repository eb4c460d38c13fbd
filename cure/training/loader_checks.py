"""Check what a loop of the caller gives to a training step: a loader with a length, images in [0, 1], class numbers."""

from typing import Any

import torch

from cure.core.tensors import Images, Labels
from cure.errors import UserError


def length(loader: Any) -> int:
    """Return the number of batches; raise UserError without a length or a batch."""
    try:
        steps = len(loader)
    except TypeError:
        raise UserError("loader: has no length; pass a DataLoader of a data set with a length, or a list") from None
    if steps < 1:
        raise UserError("loader: has no batch; pass one or more")
    return steps


def check_batch(x: Images, y: Labels) -> None:
    """Raise UserError for images outside [0, 1], such as normalised ones, and for labels that are not class numbers."""
    if not x.is_floating_point() or x.ndim != 4:
        raise UserError(f"x is {x.dtype} of shape {tuple(x.shape)}; images (n, c, h, w) as floats in [0, 1] are needed")
    low, high = (float(t) for t in x.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise UserError(f"x has values from {low:g} to {high:g}; images are in [0, 1]: normalise inside the network")
    if y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise UserError(f"y is {y.dtype} of shape {tuple(y.shape)}; ({len(x)}) class numbers as int64 are needed")
