"""Convert images and labels in memory, of any usual kind, to two tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cure.core.tensors import Labels
from cure.data.loader import as_float
from cure.errors import UserError, first_sentence
from cure.settings.bounds import COUNTS

Arrays = Tensor | np.ndarray | list[Any] | tuple[Any, ...]
Given = Arrays | DataLoader[Any] | Dataset[Any]


def tensors(images: Any, labels: Any, device: torch.device) -> tuple[Tensor, Labels]:
    """Return images (n, c, h, w), float32 and contiguous, and labels (n), int64, both on the device.

    A DataLoader gives batches of both, a Dataset single pairs; other kinds need labels. The caller's arrays are not
    changed. Raises UserError for anything else.
    """
    if labels is None:
        images, labels = _pairs(images)
    elif isinstance(images, DataLoader | Dataset):
        raise UserError(f"labels: a {type(images).__name__} has its own; leave labels out")
    x, y = _tensor("images", images), _tensor("labels", labels)
    if x.ndim != 4 or y.shape != x.shape[:1]:
        raise UserError(f"images are {tuple(x.shape)} and labels {tuple(y.shape)}; needed: (n, c, h, w) and (n,)")
    if not len(y):
        raise UserError("there are no images; needed: one or more")
    if x.layout != torch.strided or x.is_meta:
        raise UserError(f"images are a {'meta' if x.is_meta else 'sparse'} tensor; needed: one that holds every pixel")
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise UserError(f"images are {x.dtype}; needed: uint8 from 0 to 255, or floats in [0, 1]")
    if y.is_complex() or y.dtype == torch.bool:
        raise UserError(f"labels are {y.dtype}; needed: whole numbers from 0")
    if y.is_floating_point() and bool((y.abs() >= COUNTS).any()):
        raise UserError(f"labels go up to {float(y.abs().max()):g}; needed: classes from 0")
    if y.is_floating_point() and not torch.equal(y, y.round()):
        raise UserError(f"labels: {float(y[y != y.round()][0]):g} is not a whole number; needed: classes from 0")
    plain = as_float(x) if x.dtype == torch.uint8 else x.float()
    return plain.to(device).clone(memory_format=torch.contiguous_format), y.long().to(device)


def _pairs(images: Any) -> tuple[Any, Any]:
    """Return all images and all labels of a DataLoader or a Dataset."""
    if isinstance(images, DataLoader):
        items = [item for batch in images for item in zip(*_pair(batch), strict=True)]
    elif isinstance(images, Dataset):
        try:
            count = len(images)  # type: ignore[arg-type]
        except TypeError as problem:
            raise UserError(f"a {type(images).__name__} without a length; give a DataLoader of it") from problem
        items = [_item(images, i) for i in range(count)]
    else:
        raise UserError(f"labels: missing; only a DataLoader or a Dataset has its own, not a {type(images).__name__}")
    return [image for image, _ in items], [label for _, label in items]


def _item(images: Any, i: int) -> tuple[Any, Any]:
    try:
        return _pair(images[i])
    except UserError:
        raise
    except Exception as problem:  # external code may raise anything
        raise UserError(f"image {i} of the {type(images).__name__}: {first_sentence(problem)}") from None


def _pair(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise UserError(f"the data set gives a {type(item).__name__}, not pairs of an image and a label")
    return item[0], item[1]


def _tensor(what: str, given: Any) -> Tensor:
    """Convert an array, or a list of arrays, to a tensor."""
    try:
        if isinstance(given, list | tuple) and given and isinstance(given[0], Tensor):
            return torch.stack(list(given)).detach()
        if isinstance(given, Tensor):
            return given.detach()
        return torch.from_numpy(np.array(given))
    except (TypeError, ValueError, RuntimeError, OverflowError) as problem:
        kind = type(given[0] if isinstance(given, list | tuple) and given else given).__name__
        raise UserError(f"{what}: cannot be read as numbers, from {kind} ({first_sentence(problem)})") from None
