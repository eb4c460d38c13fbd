"""folder: your own images, as PATH/train/CLASS/* and PATH/test/CLASS/*, in any format that Pillow reads."""

import os
import struct
import zlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from cure.core.dataset import Classes, Pixels, Raw
from cure.errors import UserError
from cure.settings.base import DataSettings

FILES = ()  # to be downloaded


class Hyper(DataSettings):
    """Where the images are and what they become."""

    path: str  # absolute, or relative to params.yaml; $VARIABLES and ~ are expanded
    size: Annotated[int, Field(ge=1)] | None  # images are scaled to size x size; null: all must be of one size
    colour: Literal["rgb", "grey"]
    train_images: Annotated[int, Field(ge=1)] | None  # of each class, the first by name; null: all


def _root(hyper: Hyper) -> Path:
    return Path(os.path.expandvars(hyper.path)).expanduser()


def _classes(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Why it cannot be read, or None."""
    root = _root(hyper)
    absent = [name for name in ("train", "test") if not (root / name).is_dir()]
    if absent:
        return f"datasets.folder.path: {root} has no folder {' and no folder '.join(absent)}"
    train, test = _classes(root / "train"), _classes(root / "test")
    if train != test:
        return f"{root}: train and test differ in their class folders: {', '.join(sorted(set(train) ^ set(test)))}"
    return None


def read(hyper: Hyper, downloads: Path) -> Raw:
    """Every image, classes in the order of their names."""
    root = _root(hyper)
    classes = _classes(root / "train")
    train = _split(root / "train", classes, hyper, hyper.train_images)
    test = _split(root / "test", classes, hyper, None)
    return Raw(train=train, test=test, classes=classes, source=f"folder {root.name}")


def _split(folder: Path, classes: list[str], hyper: Hyper, most: int | None) -> tuple[Pixels, Classes]:
    files: list[tuple[Path, int]] = []
    for k, name in enumerate(classes):
        own = [path for path in sorted((folder / name).iterdir()) if path.is_file() and not path.name.startswith(".")]
        files += [(path, k) for path in own[:most]]
    images = [_image(path, hyper) for path, _ in files]
    for (path, _), image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            sizes = f"{image.shape[1:]} where others are {images[0].shape[1:]}"
            raise UserError(f"{path}: is {sizes}; set datasets.folder.size")
    pixels = np.stack(images) if images else np.zeros((0, 1, 1, 1), np.uint8)
    return pixels, np.array([label for _, label in files], dtype=np.int64)


def _image(path: Path, hyper: Hyper) -> Pixels:
    from PIL import Image

    broken = (OSError, SyntaxError, ValueError, IndexError, struct.error, zlib.error, Image.DecompressionBombError)
    try:
        with Image.open(path) as picture:
            if picture.mode[0] in "IF":  # Pillow would clip them to 8 bits
                raise UserError(f"{path}: has more than 8 bits per channel (mode {picture.mode}); convert it to 8 bits")
            plain = picture.convert({"rgb": "RGB", "grey": "L"}[hyper.colour])
    except broken as problem:
        raise UserError(f"{path}: not a readable image ({problem})") from None
    if hyper.size is not None:
        plain = plain.resize((hyper.size, hyper.size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
