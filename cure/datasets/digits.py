"""digits: 1,797 grey 8x8 images of handwritten digits that come inside scikit-learn. No download.

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
    """Digits has no official test split, so a stratified share of it is set aside, with split_seed.

    The defaults are the quickstart's settings: its networks meet the same test images anywhere.
    """

    test: Annotated[Number, Field(gt=0, lt=1)] = 0.3
    validation: Count | None = 240
    split_seed: Seed = 0
    augment: Augment = Augment(crop=1, padding="zero", flip=False)


def read(hyper: Hyper, downloads: Path) -> Raw:
    """All images, split by hyper.test."""
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
    """Nothing can be missing: the images are part of scikit-learn."""
    return None
