"""SVHN: 73,257 + 26,032 colour 32x32 house-number digits, through torchvision with its checksums.

Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011. The `extra` split is not
used, as in CURE and its baselines.
"""

from pathlib import Path
from typing import Any

import numpy as np

from cure.core import archive
from cure.core.raw import Raw
from cure.core.settings import DataSettings


class Hyper(DataSettings):
    """Nothing of its own."""


def _official() -> Any:
    from torchvision.datasets import SVHN

    return SVHN


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Why it cannot be read, or None."""
    files = {name: (url, md5) for url, name, md5 in (_official().split_list[s] for s in ("train", "test"))}
    return archive.missing(files, downloads)


def read(hyper: Hyper, downloads: Path) -> Raw:
    """The official train and test splits."""
    parts = {name: archive.fetch(_official(), downloads, split=name) for name in ("train", "test")}
    train, test = ((part.data, np.asarray(part.labels, dtype=np.int64)) for part in parts.values())
    md5s = ", ".join(_official().split_list[name][2] for name in parts)
    return Raw(train=train, test=test, classes=[str(digit) for digit in range(10)], source=f"SVHN, md5 {md5s}")
