"""Data sets that torchvision downloads and verifies, read without surprises."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from cure.core.raw import Raw
from cure.errors import Refused


def missing(archives: dict[str, tuple[str, str]], folder: Path) -> str | None:
    """What keeps `archives` (file name -> (address, md5)) from being read, and what to do; None if nothing does.

    A file that is there must have its checksum; one that is not must be reachable.
    """
    from torchvision.datasets.utils import check_integrity

    for name, (address, md5) in archives.items():
        path = folder / name
        if path.exists():
            if not check_integrity(path, md5):
                return f"{path}: truncated or altered (its md5 is not {md5}); delete it and run again"
            continue
        try:
            urllib.request.urlopen(address, timeout=10).close()
        except (urllib.error.URLError, TimeoutError, OSError) as problem:
            reason = getattr(problem, "reason", problem)
            return (
                f"{name} is not in {folder} and cannot be downloaded ({reason}). Connect to a network, or put the file "
                f"there yourself (md5 {md5}); quickstart/ needs no download"
            )
    return None


def torchvision(name: str) -> Any:
    """The class of torchvision.datasets called `name`; imported here, since the import takes seconds."""
    from torchvision import datasets

    return getattr(datasets, name)


def fetch(kind: Any, folder: Path, **which: Any) -> Any:
    """A torchvision data set, downloaded, verified and extracted where needed."""
    try:
        return kind(folder, download=True, **which)
    except (RuntimeError, OSError, EOFError) as problem:
        raise Refused(f"{folder}: {kind.__name__} could not be downloaded and verified: {problem}") from problem


def cifar_missing(name: str, folder: Path) -> str | None:
    """What keeps CIFAR10 or CIFAR100 from being read."""
    kind = torchvision(name)
    return missing({kind.filename: (kind.url, kind.tgz_md5)}, folder)


def cifar(name: str, folder: Path) -> Raw:
    """CIFAR10 or CIFAR100 from the pickles that torchvision has checked."""
    kind = torchvision(name)
    train, test = (fetch(kind, folder, train=train) for train in (True, False))

    def split(part: Any) -> tuple[Any, Any]:
        return np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)), np.asarray(part.targets, dtype=np.int64)

    source = f"{kind.__name__} from {kind.url}, md5 {kind.tgz_md5}"
    return Raw(train=split(train), test=split(test), classes=list(train.classes), source=source)
