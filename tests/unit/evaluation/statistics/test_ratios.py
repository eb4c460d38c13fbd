"""The natural-robustness ratio of methods and of two networks against images that are drawn again."""

import numpy as np
import pytest

from cure.evaluation.statistics.intervals import nrr
from cure.evaluation.statistics.ratios import ratio_of_networks, ratios


def texts(outcomes):
    return ["".join("1" if right else "0" for right in one) for one in outcomes]


def test_ratios_are_means_over_seeds_and_their_variance_that_of_drawing_images_anew():
    draws = np.random.default_rng(6)
    clean = draws.random((2, 400)) < 0.9
    robust = clean & (draws.random((2, 400)) < 0.5)
    found = ratios({"a": texts(clean)}, {"a": texts(robust)})
    each = [nrr(c.mean(), r.mean()) for c, r in zip(clean, robust, strict=True)]
    assert found.scores["a"].per_seed == pytest.approx(each)
    assert found.mean("a").value == pytest.approx(np.mean(each))
    drawn = draws.integers(0, 400, (2000, 400))
    again = [np.mean([nrr(c[i].mean(), r[i].mean()) for c, r in zip(clean, robust, strict=True)]) for i in drawn]
    assert found.scores["a"].per_image.std(ddof=1) / 20 == pytest.approx(np.std(again), rel=0.1)


def test_the_ratio_of_a_network_without_robust_images_is_0_and_has_an_interval():
    found = ratios({"a": ["1" * 60] * 2}, {"a": ["0" * 60] * 2})
    assert found.mean("a").value == 0
    assert 0.05 < found.mean("a").interval()[1] < 0.15  # twice that of the accuracy under attack


def test_two_networks_are_compared_image_by_image() -> None:
    draws = np.random.default_rng(8)
    clean = np.stack([draws.random(400) < level for level in (0.9, 0.8)])
    robust = clean & (draws.random(400) < 0.6)  # the same images resist in both
    named = [dict(zip("ab", ([text] for text in texts(one)), strict=True)) for one in (clean, robust)]
    found = ratio_of_networks(*named)

    def gap(i):
        return np.subtract(*(nrr(c[i].mean(), r[i].mean()) for c, r in zip(clean, robust, strict=True)))

    assert found.value == pytest.approx(gap(np.arange(400)))
    again = [gap(i) for i in draws.integers(0, 400, (2000, 400))]
    assert found.variance**0.5 == pytest.approx(np.std(again), rel=0.1)
    low, high = found.interval()
    assert low < found.value < high
    assert (
        ratio_of_networks({"a": named[0]["a"], "b": named[0]["a"]}, {"a": named[1]["a"], "b": named[1]["a"]}).p() == 1
    )
