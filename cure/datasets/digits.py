"""digits: 1,797 grey 8x8 images of handwritten digits that are part of scikit-learn. No download.

Alpaydin & Kaynak, UCI Optical Recognition of Handwritten Digits. The 17 grey levels 0..16 become 0..255.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from cure.core.dataset import Raw, stratified
from cure.settings.base import Augment, Count, DataSettings, Number, Seed

FILES = ()  # to be downloaded


class Hyper(DataSettings):
    """Settings of the split: digits has no official test split, so `split_seed` draws a stratified share `test` of it.

    The defaults are those of the quickstart, so its networks are evaluated on the same test images everywhere.
    """

    test: Annotated[Number, Field(gt=0, lt=1)] = 0.3
    validation: Count | None = 240
    split_seed: Seed = 0
    augment: Augment = Augment(crop=1, padding="zero", flip=False)


def read(hyper: Hyper, downloads: Path) -> Raw:
    """Return all images, split by hyper.test."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    test = stratified(labels, round(hyper.test * len(labels)), hyper.split_seed)
    return Raw(
        train=(pixels[~test], labels[~test]),
        test=(pixels[test], labels[test]),
        classes=[str(digit) for digit in range(10)],
        source="scikit-learn load_digits",
    )


def missing(hyper: Hyper, downloads: Path) -> str | None:
    """Return None, since the images are part of scikit-learn."""
    return None
