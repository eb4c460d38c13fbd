"""The contract of a data set: its images as the source gives them, before validation images are taken from training.

An entry cure/datasets/NAME.py defines

    Hyper(DataSettings)            its section of params.yaml
    FILES                          a tuple of `cure.data.archive.File` to download, empty if there are none
    missing(hyper, downloads)      why the images cannot be read here, apart from FILES, or None
    read(hyper, downloads)         the images as `Raw`

and EXTENT (`cure.data.archive.Extent`) if it has FILES. `downloads` is the folder of the downloaded files.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cure.errors import UserError

Pixels = NDArray[np.uint8]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Raw:
    """Images and labels of a data set, checked when it is made.

    Raises:
        UserError: a shape, a type or a label is not as the fields describe.
    """

    train: tuple[Pixels, Classes]  # images (n, 1 or 3, h, w) and labels (n), 0 to classes - 1
    test: tuple[Pixels, Classes]  # likewise; images of the same shape
    classes: list[str]  # names, at least two; each class has images in both splits
    source: str  # where the images came from, with the checksum that identifies them

    def __post_init__(self) -> None:
        for name, (images, labels) in (("train", self.train), ("test", self.test)):
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
                found = f"{images.dtype} {images.shape}"
                raise UserError(f"{self.source}: {name} images are {found}, not uint8 (n, 1 or 3, h, w)")
            if len(images) != len(labels) or not len(labels):
                raise UserError(
                    f"{self.source}: {name} has {len(images)} images and {len(labels)} labels; it needs "
                    f"the same number, one or more"
                )
            if set(np.unique(labels)) != set(range(len(self.classes))):
                raise UserError(
                    f"{self.source}: labels of {name} must be 0 to {len(self.classes) - 1}, each at least once"
                )
        if len(self.classes) < 2:
            raise UserError(f"{self.source}: one class only; at least two are needed")
        if self.train[0].shape[1:] != self.test[0].shape[1:]:
            shapes = f"train images are {self.train[0].shape[1:]}, test images {self.test[0].shape[1:]}"
            raise UserError(f"{self.source}: {shapes}; they must agree")


def stratified(labels: Classes, count: int, seed: int) -> NDArray[np.bool_]:
    """Draw a mask of images with each class in proportion (largest remainders first) and on both sides of the mask.

    Args:
        labels: class of each image, of shape (n).
        count: images to select.
        seed: decides which images of a class are selected.

    Returns:
        Mask of shape (n) with `count` true values.

    Raises:
        UserError: `count` is too small or too large to keep every class on both sides.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if sizes.min() < 2 or not len(classes) <= count <= len(labels) - len(classes):
        raise UserError(
            f"cannot set {count} of {len(labels)} images aside and keep each of {len(classes)} classes on both sides; "
            f"allowed: {len(classes)} to {len(labels) - len(classes)}, and two images or more of every class"
        )
    share = _shares(count * sizes / len(labels), sizes, count)
    draws = np.random.Generator(np.random.PCG64(seed))
    mask = np.zeros(len(labels), dtype=bool)
    for kind, take in zip(classes, share, strict=True):
        mask[draws.permutation(np.flatnonzero(labels == kind))[:take]] = True
    return mask


def _shares(quota: NDArray[np.float64], sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return whole numbers near `quota` that add up to `count`, each from 1 to size - 1."""
    share = np.clip(np.floor(quota).astype(np.int64), 1, sizes - 1)
    while (short := count - int(share.sum())) != 0:
        step = 1 if short > 0 else -1
        free = share < sizes - 1 if step > 0 else share > 1
        share[np.argmax(np.where(free, step * (quota - share), -np.inf))] += step
    return share
