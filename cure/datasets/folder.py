"""folder: your own images, as PATH/train/CLASS/* and PATH/test/CLASS/*, in any format that Pillow reads.

PATH is a folder, or a tar archive of one, which is read without being unpacked.
"""

import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Literal

import numpy as np
from pydantic import Field

from cure.core.dataset import Classes, Pixels, Raw
from cure.data.archive import UNREADABLE
from cure.errors import UserError
from cure.settings.base import Augment, Count, DataSettings, Seed
from cure.storage.paths import expanded

FILES = ()  # to be downloaded
SPLITS = ("train", "test")
BROKEN_ARCHIVE = (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error)
Files = list[tuple[str, Callable[[], IO[bytes]]]]
Found = dict[str, dict[str, Files]]  # split -> class -> its files, by name


class Hyper(DataSettings):
    """Settings: where the images are, their size and colours, and how they are split; only `path` has no default."""

    path: str  # absolute, or relative to params.yaml; $VARIABLES and ~ are expanded
    size: Annotated[int, Field(ge=1)] | None = None  # images are scaled to size x size; null: all must have one size
    colour: Literal["rgb", "grey"] = "rgb"
    train_images: Annotated[int, Field(ge=1)] | None = None  # of each class, the first by name; null: all
    validation: Count | None = None
    split_seed: Seed = 0
    augment: Augment = Augment(crop=4, padding="zero", flip=True)


def _found(root: Path) -> Found:
    return _in_archive(root, root.stat().st_mtime_ns) if root.is_file() else _in_folder(root)


def _classes(root: Path) -> dict[str, set[str]]:
    """Return split -> its classes, without reading the images of a folder."""
    if root.is_file():
        return {split: set(classes) for split, classes in _found(root).items()}
    there = (root / name for name in SPLITS)
    return {
        split.name: {entry.name for entry in split.iterdir() if entry.is_dir() and _shown(entry.name)}
        for split in there
        if split.is_dir()
    }


def _in_folder(root: Path) -> Found:
    def files(folder: Path) -> Files:
        own = (path for path in folder.iterdir() if path.is_file() and _shown(path.name))
        return [(str(path), partial(_open, path)) for path in sorted(own)]

    return {split: {name: files(root / split / name) for name in names} for split, names in _classes(root).items()}


@lru_cache(maxsize=1)
def _in_archive(root: Path, changed: int) -> Found:
    """Read an archive from beginning to end, since members of a compressed archive cannot be looked up.

    The result is cached while the file stays the same, since `missing` and `read` both need it.
    """
    found: Found = {}
    try:
        with tarfile.open(root) as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts
                if member.isfile() and len(parts) == 3 and parts[0] in SPLITS and all(map(_shown, parts)):
                    file = archive.extractfile(member)
                    assert file is not None
                    one = f"{root}: {member.name}", partial(io.BytesIO, file.read())
                    found.setdefault(parts[0], {}).setdefault(parts[1], []).append(one)
    except BROKEN_ARCHIVE as problem:
        raise UserError(
            f"{root}: cannot be read ({problem}); give a folder, or a tar archive, of train/ and test/"
        ) from None
    return {
        split: {name: sorted(files, key=lambda one: one[0]) for name, files in each.items()}
        for split, each in found.items()
    }


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _shown(name: str) -> bool:
    return not name.startswith(".")


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Return why the images cannot be read, or None."""
    root = expanded(hyper.path)
    try:
        found = _classes(root)
    except UserError as problem:
        return str(problem)
    if absent := [name for name in SPLITS if name not in found]:
        return f"datasets.folder.path: {root} has no folder {' and no folder '.join(absent)}"
    if differ := sorted(found["train"] ^ found["test"]):
        return f"{root}: train and test differ in their class folders: {', '.join(differ)}"
    return None


def read(hyper: Hyper, downloads: Path) -> Raw:
    """Return every image, with the classes in the order of their names."""
    root = expanded(hyper.path)
    found = _found(root)
    train, test = _split(found["train"], hyper, hyper.train_images), _split(found["test"], hyper, None)
    name = root.name.partition(".")[0] if root.is_file() else root.name
    return Raw(train=train, test=test, classes=sorted(found["train"]), source=f"folder {name}")


def _split(found: dict[str, Files], hyper: Hyper, most: int | None) -> tuple[Pixels, Classes]:
    files = [(*file, k) for k, name in enumerate(sorted(found)) for file in found[name][:most]]
    images = [_image(name, read, hyper) for name, read, _ in files]
    for (name, _, _), image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            sizes = f"{image.shape[1:]} where others are {images[0].shape[1:]}"
            raise UserError(f"{name}: is {sizes} pixels; set datasets.folder.size, to which all images are scaled")
    pixels = np.stack(images) if images else np.zeros((0, 1, 1, 1), np.uint8)
    return pixels, np.array([label for *_, label in files], dtype=np.int64)


def _image(path: str, read: Callable[[], IO[bytes]], hyper: Hyper) -> Pixels:
    from PIL import Image

    try:
        with read() as file, Image.open(file) as picture:
            if picture.mode[0] in "IF":  # Pillow would clip them to 8 bits
                raise UserError(f"{path}: has more than 8 bits per channel (mode {picture.mode}); convert it to 8 bits")
            plain = picture.convert({"rgb": "RGB", "grey": "L"}[hyper.colour])
    except (*UNREADABLE, Image.DecompressionBombError) as problem:
        raise UserError(f"{path}: not a readable image ({problem})") from None
    if hyper.size is not None:
        plain = plain.resize((hyper.size, hyper.size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
