"""Tiny-ImageNet: 100,000 + 10,000 colour 64x64 images in 200 classes, one download, read without being unpacked.

Le & Yang, "Tiny ImageNet Visual Recognition Challenge", CS231n, Stanford, 2015. Its test split has no labels, so the
papers test on `val`, and so does this entry: `test` here is the 10,000 images of val/.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from cure.core.dataset import Classes, Pixels, Raw
from cure.data.archive import UNREADABLE, Extent, File
from cure.errors import UserError
from cure.settings.base import DataSettings

FILES = (
    File(
        "tiny-imagenet-200.zip",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "90528d7ca1a48142e341f4ef8d21d0de",
    ),
)
EXTENT = Extent(train=100_000, test=10_000, channels=3, size=64, classes=200)
ROOT = "tiny-imagenet-200/"
BROKEN = (*UNREADABLE, EOFError, NotImplementedError)


class Hyper(DataSettings):
    """Settings that every data set has."""


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Return None: apart from FILES, this data set needs nothing."""
    return None


def read(hyper: Hyper, downloads: Path) -> Raw:
    """Read train/ID/images/*.JPEG and val/images with val_annotations.txt; classes in the order of wnids.txt."""
    path = downloads / FILES[0].name
    try:
        with zipfile.ZipFile(path) as archive:
            members = _Members(path, archive)
            classes = members.text("wnids.txt").split()
            train, test = _train(members, classes), _val(members, classes)
            source = f"Tiny-ImageNet from {FILES[0].url}, md5 {FILES[0].md5}"
            return Raw(members.split(*train), members.split(*test), classes, source)
    except (zipfile.BadZipFile, *BROKEN) as problem:
        raise UserError(f"{path}: not a whole archive ({problem}); delete it and run again") from None


Listed = tuple[list[str], list[int]]
"""Names inside the archive, and their labels."""


class _Members:
    """The files of the archive by name below ROOT, read in memory, so that no name can point outside a folder."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive
        self.names = sorted(name.removeprefix(ROOT) for name in archive.namelist() if name.startswith(ROOT))

    def raw(self, name: str) -> bytes:
        try:
            return self.archive.read(ROOT + name)
        except KeyError:
            raise UserError(f"{self.path}: holds no {ROOT}{name}; fetch the official archive") from None

    def text(self, name: str) -> str:
        return self.raw(name).decode()

    def split(self, names: list[str], labels: list[int]) -> tuple[Pixels, Classes]:
        """Return (n, 3, 64, 64) and (n); the three channels of a grey image are equal."""
        pixels = np.empty((len(names), EXTENT.channels, EXTENT.size, EXTENT.size), np.uint8)
        for i, name in enumerate(names):
            pixels[i] = self._image(name)
        return pixels, np.array(labels, dtype=np.int64)

    def _image(self, name: str) -> Pixels:
        from PIL import Image

        raw = self.raw(name)
        try:
            with Image.open(io.BytesIO(raw)) as picture:
                plain = np.asarray(picture.convert("RGB"), dtype=np.uint8)
        except (*BROKEN, Image.DecompressionBombError) as problem:
            raise UserError(f"{self.path}: {name} is not a readable image ({problem})") from None
        if plain.shape != (EXTENT.size, EXTENT.size, EXTENT.channels):
            raise UserError(f"{self.path}: {name} is of {plain.shape[:2]} pixels, not {EXTENT.size} x {EXTENT.size}")
        return plain.transpose(2, 0, 1)


def _train(members: _Members, classes: list[str]) -> Listed:
    """Return the training images class by class, in the order of their names."""
    names, labels = list[str](), list[int]()
    for label, wnid in enumerate(classes):
        folder = f"train/{wnid}/images/"
        own = [name for name in members.names if name.startswith(folder) and name.endswith(".JPEG")]
        names += own
        labels += [label] * len(own)
    return names, labels


def _val(members: _Members, classes: list[str]) -> Listed:
    """Return the images of val_annotations.txt in its order; a line has file, class and box, separated by tabs."""
    where, names, labels = "val/val_annotations.txt", list[str](), list[int]()
    for number, line in enumerate(members.text(where).splitlines(), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in classes:
            raise UserError(f"{members.path}: {where}, line {number}: {wnid!r} is not a class of wnids.txt")
        names.append(f"val/images/{name}")
        labels.append(classes.index(wnid))
    return names, labels
