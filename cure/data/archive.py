"""Data sets that come as published files, and those that torchvision reads, without surprises."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cure.core.dataset import Raw
from cure.errors import UserError

UNREADABLE = (OSError, SyntaxError, ValueError, IndexError, struct.error, zlib.error)
"""What Pillow raises at the bytes of a broken image, besides its DecompressionBombError."""


@dataclass(frozen=True)
class File:
    """One published file; the engine fetches it before a data set is read."""

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class Extent:
    """How much a published data set holds, for whoever plans before it is there: images, and what they are like."""

    train: int
    test: int
    channels: int
    size: int  # pixels of a side
    classes: int


def torchvision(name: str) -> Any:
    """The class of torchvision.datasets called `name`; imported here, since the import takes seconds."""
    from torchvision import datasets

    return getattr(datasets, name)


def verified(kind: Any, folder: Path, **which: Any) -> Any:
    """A torchvision data set from what lies in `folder`, whose checksums torchvision looks at again."""
    try:
        return kind(folder, download=False, **which)
    except (RuntimeError, OSError, EOFError, ValueError) as problem:
        raise UserError(
            f"{folder}: {kind.__name__} is not whole ({problem}); delete the folder and run again"
        ) from problem


def cifar(name: str, file: File, folder: Path) -> Raw:
    """CIFAR10 or CIFAR100 from the pickles in `file`, which torchvision extracts and checks one by one."""
    from torchvision.datasets.utils import extract_archive

    kind = torchvision(name)
    try:
        kind(folder, download=False)
    except RuntimeError:  # not extracted yet, or only in part
        extract_archive(folder / file.name, folder)
    train, test = (verified(kind, folder, train=train) for train in (True, False))

    def split(part: Any) -> tuple[Any, Any]:
        return np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)), np.asarray(part.targets, dtype=np.int64)

    source = f"{kind.__name__} from {file.url}, md5 {file.md5}"
    return Raw(train=split(train), test=split(test), classes=list(train.classes), source=source)
