"""Read data sets that are published as files, through torchvision for some, with errors that a user can act on."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cure.core.dataset import Raw
from cure.errors import UserError

UNREADABLE = (OSError, SyntaxError, ValueError, IndexError, struct.error, zlib.error)
"""Errors of Pillow for the bytes of a broken image, in addition to its DecompressionBombError."""


@dataclass(frozen=True)
class File:
    """One published file with its checksum; `prepare` downloads it before a data set is read."""

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class Extent:
    """The size of a published data set, so that `cure plan` can count before it is downloaded."""

    train: int
    test: int
    channels: int
    size: int  # side in pixels
    classes: int


def torchvision(name: str) -> Any:
    """Return the class of torchvision.datasets with this name; it is imported here, since the import takes seconds."""
    from torchvision import datasets

    return getattr(datasets, name)


def verified(kind: Any, folder: Path, **which: Any) -> Any:
    """Return a torchvision data set from the files in `folder`, whose checksums torchvision verifies again."""
    try:
        return kind(folder, download=False, **which)
    except (RuntimeError, OSError, EOFError, ValueError) as problem:
        raise UserError(
            f"{folder}: {kind.__name__} is incomplete or damaged ({problem}); delete the folder and run again"
        ) from problem


def cifar(name: str, file: File, folder: Path) -> Raw:
    """Return CIFAR10 or CIFAR100 from the pickles in `file`, which torchvision extracts and verifies one by one."""
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
