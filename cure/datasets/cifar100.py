"""CIFAR-100: 50,000 + 10,000 colour 32x32 images in 100 fine classes, through torchvision with its checksum.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from pathlib import Path

from cure.core import archive
from cure.core.raw import Raw
from cure.core.settings import DataSettings


class Hyper(DataSettings):
    """Nothing of its own."""


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Why it cannot be read, or None."""
    return archive.cifar_missing("CIFAR100", downloads)


def read(hyper: Hyper, downloads: Path) -> Raw:
    """The official splits."""
    return archive.cifar("CIFAR100", downloads)
