"""SVHN: 73,257 + 26,032 colour 32x32 house-number digits, two downloads, read through torchvision.

Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011. The `extra` split is not
used, as in CURE and its baselines.
"""

from pathlib import Path

import numpy as np

from cure.core.dataset import Raw
from cure.data import archive
from cure.data.archive import Extent, File
from cure.settings.base import DataSettings

FILES = (
    File(
        "train_32x32.mat",
        "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
        "e26dedcc434d2e4c54c9b2d4a06d8373",
    ),
    File(
        "test_32x32.mat",
        "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        "eb5a983be6a315427106f1b164d9cef3",
    ),
)
EXTENT = Extent(train=73_257, test=26_032, channels=3, size=32, classes=10)


class Hyper(DataSettings):
    """Settings that every data set has."""


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Return None: apart from FILES, this data set needs nothing."""
    return None


def read(hyper: Hyper, downloads: Path) -> Raw:
    """Return the official train and test splits."""
    parts = [archive.verified(archive.torchvision("SVHN"), downloads, split=name) for name in ("train", "test")]
    train, test = ((part.data, np.asarray(part.labels, dtype=np.int64)) for part in parts)
    md5s = ", ".join(file.md5 for file in FILES)
    return Raw(train=train, test=test, classes=[str(digit) for digit in range(10)], source=f"SVHN, md5 {md5s}")
