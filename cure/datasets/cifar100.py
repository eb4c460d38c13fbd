"""CIFAR-100: 50,000 + 10,000 colour 32x32 images in 100 fine classes, one download, read through torchvision.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from pathlib import Path

from cure.core.dataset import Raw
from cure.data import archive
from cure.data.archive import Extent, File
from cure.settings.base import DataSettings

FILES = (
    File(
        "cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
    ),
)
EXTENT = Extent(train=50_000, test=10_000, channels=3, size=32, classes=100)


class Hyper(DataSettings):
    """Settings that every data set has."""


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Return None: apart from FILES, this data set needs nothing."""
    return None


def read(hyper: Hyper, downloads: Path) -> Raw:
    """Return the official splits."""
    return archive.cifar("CIFAR100", FILES[0], downloads)
