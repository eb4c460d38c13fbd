import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cure.core.dataset import Raw, stratified
from cure.errors import UserError


def labels(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Shuffled labels with this many of each class."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def per_class(y: np.ndarray, mask: np.ndarray, classes: int) -> list[int]:
    return np.bincount(y[mask], minlength=classes).tolist()


@given(st.lists(st.integers(2, 60), min_size=2, max_size=8), st.data())
def test_exactly_so_many_images_are_set_aside(sizes: list[int], data) -> None:
    count = data.draw(st.integers(len(sizes), sum(sizes) - len(sizes)))
    assert stratified(labels(sizes), count, 3).sum() == count


@given(st.lists(st.integers(20, 60), min_size=2, max_size=8), st.integers(20, 80))
def test_each_class_gives_its_proportion_up_to_one_image(sizes: list[int], percent: int) -> None:
    y = labels(sizes)
    count = len(y) * percent // 100
    found = per_class(y, stratified(y, count, 3), len(sizes))
    assert all(abs(n - count * size / len(y)) < 1 for n, size in zip(found, sizes, strict=True))


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([50, 50], 20, [10, 10]),
        ([30, 60, 10], 10, [3, 6, 1]),
        ([33, 33, 34], 10, [3, 3, 4]),  # the largest remainder gets the image that is left
        ([50, 50], 21, [11, 10]),  # of equal remainders the first
    ],
)
def test_known_shares(sizes: list[int], count: int, expected: list[int]) -> None:
    y = labels(sizes)
    assert per_class(y, stratified(y, count, 0), len(sizes)) == expected


@pytest.mark.parametrize(("sizes", "count"), [([3, 97], 10), ([3, 97], 90), ([2, 2, 196], 197)])
def test_rare_classes_are_kept_on_both_sides(sizes: list[int], count: int) -> None:
    y = labels(sizes)
    mask = stratified(y, count, 0)
    assert mask.sum() == count
    assert min(per_class(y, mask, len(sizes))) > 0
    assert min(per_class(y, ~mask, len(sizes))) > 0


def test_a_class_of_one_image_cannot_be_on_both_sides() -> None:
    with pytest.raises(UserError):
        stratified(labels([1, 99]), 10, 0)


def test_the_mask_is_a_function_of_the_seed() -> None:
    y = labels([40, 40])
    assert np.array_equal(stratified(y, 20, 5), stratified(y, 20, 5))
    assert not np.array_equal(stratified(y, 20, 5), stratified(y, 20, 6))


@pytest.mark.parametrize("count", [0, 2, 98, 100, 101])
def test_counts_that_leave_a_side_without_a_class_are_refused_with_the_allowed_range(count: int) -> None:
    with pytest.raises(UserError, match="allowed: 3 to 97"):
        stratified(labels([30, 30, 40]), count, 0)


def images(n: int, channels: int = 1, size: int = 4) -> np.ndarray:
    return np.zeros((n, channels, size, size), np.uint8)


TWO = np.array([0, 1])


@pytest.mark.parametrize(
    ("train", "test", "classes", "message"),
    [
        ((images(2)[:, 0], TWO), (images(2), TWO), ["a", "b"], r"train images are uint8 \(2, 4, 4\), not"),
        ((images(2, channels=2), TWO), (images(2), TWO), ["a", "b"], "1 or 3"),
        ((images(2), TWO), (images(3), TWO), ["a", "b"], "test has 3 images and 2 labels"),
        ((images(2), TWO), (images(0), TWO[:0]), ["a", "b"], "test has 0 images"),
        ((images(2), TWO), (images(2), TWO * 0), ["a", "b"], "must be 0 to 1, each at least once"),
        ((images(2), TWO), (images(2), TWO), ["a", "b", "c"], "must be 0 to 2, each at least once"),
        ((images(2), TWO * 0), (images(2), TWO * 0), ["a"], "one class only"),
        ((images(2), TWO), (images(2, size=5), TWO), ["a", "b"], "must agree"),
    ],
)
def test_raw_data_that_cannot_be_used_is_refused(train, test, classes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Raw(train=train, test=test, classes=classes, source="here")
