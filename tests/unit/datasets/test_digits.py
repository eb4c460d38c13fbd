from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cure.core.dataset import Raw
from cure.datasets.digits import Hyper, missing, read
from tests.support.settings import QUICKSTART


def hyper(test: float = 0.3, split_seed: int = 0) -> Hyper:
    return Hyper(
        test=test, validation=240, split_seed=split_seed, augment={"padding": "zero", "crop": 1, "flip": False}
    )


@pytest.fixture(scope="module")
def raw() -> Raw:
    return read(hyper(), Path())


def test_nothing_is_downloaded() -> None:
    assert missing(hyper(), Path("nowhere")) is None


def test_sizes_and_classes(raw: Raw) -> None:
    assert raw.train[0].shape == (1258, 1, 8, 8)
    assert raw.test[0].shape == (539, 1, 8, 8)
    assert raw.classes == [str(digit) for digit in range(10)]
    assert raw.train[1].dtype == raw.test[1].dtype == np.int64


def test_the_17_grey_levels_span_eight_bits(raw: Raw) -> None:
    levels = np.unique(np.concatenate([raw.train[0].ravel(), raw.test[0].ravel()]))
    assert levels.tolist() == [round(k * 255 / 16) for k in range(17)]


def test_each_image_keeps_its_label_and_appears_once(raw: Raw) -> None:
    pixels, labels = load_digits(return_X_y=True)
    whole = Counter((tuple(p.tolist()), int(y)) for p, y in zip(pixels, labels, strict=True))
    found: Counter[tuple[tuple[float, ...], int]] = Counter()
    for images, classes in (raw.train, raw.test):
        levels = np.round(images.reshape(len(images), 64) / 255 * 16)
        found.update((tuple(p.tolist()), int(y)) for p, y in zip(levels, classes, strict=True))
    assert found == whole


def test_the_test_split_is_stratified(raw: Raw) -> None:
    total = np.bincount(load_digits().target)
    assert np.abs(np.bincount(raw.test[1]) - 0.3 * total).max() < 1


def test_the_split_is_a_function_of_its_seed(raw: Raw) -> None:
    assert np.array_equal(read(hyper(), Path()).test[0], raw.test[0])
    assert not np.array_equal(read(hyper(split_seed=1), Path()).test[0], raw.test[0])


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_outside_the_open_unit_interval_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="test"):
        hyper(test=share)


def test_without_a_section_the_digits_are_the_quickstarts() -> None:
    assert Hyper() == Hyper.model_validate(QUICKSTART["datasets"]["digits"])
