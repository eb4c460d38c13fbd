"""SVHN: 73,257 + 26,032 colour 32x32 house-number digits, through torchvision with its checksums.

Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011. The `extra` split is not
used, as in CURE and its baselines.
"""

from pathlib import Path

import numpy as np

from cure.core import archive
from cure.core.raw import Raw
from cure.core.settings import DataSettings


class Hyper(DataSettings):
    """Nothing of its own."""


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Why it cannot be read, or None."""
    listed = archive.torchvision("SVHN").split_list
    return archive.missing({name: (url, md5) for url, name, md5 in (listed["train"], listed["test"])}, downloads)


def read(hyper: Hyper, downloads: Path) -> Raw:
    """The official train and test splits."""
    official = archive.torchvision("SVHN")
    parts = {name: archive.fetch(official, downloads, split=name) for name in ("train", "test")}
    train, test = ((part.data, np.asarray(part.labels, dtype=np.int64)) for part in parts.values())
    md5s = ", ".join(official.split_list[name][2] for name in parts)
    return Raw(train=train, test=test, classes=[str(digit) for digit in range(10)], source=f"SVHN, md5 {md5s}")
