"""Exact tests and intervals of matched outcomes, against what can be counted by hand and against McNemar's."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from cure.errors import UserError
from cure.evaluation.statistics.paired_outcomes import paired_outcomes
from cure.evaluation.statistics.paired_tests import PairedTest, holm, paired_test


def outcomes(both, first, second, neither):
    """The two outcomes with these counts."""
    return "1" * (both + first) + "0" * (second + neither), "1" * both + "0" * first + "1" * second + "0" * neither


def brute(scores):
    """The share of all choices of signs with a total as far from 0."""
    totals = [abs(np.dot(signs, scores)) for signs in itertools.product((-1, 1), repeat=len(scores))]
    return np.mean(np.array(totals) >= abs(sum(scores)))


@pytest.mark.parametrize("counts", [(5, 0, 0, 3), (5, 6, 0, 0), (20, 8, 1, 4), (20, 3, 9, 4), (2, 4, 4, 1)])
def test_with_one_seed_it_is_mcnemars_test(counts):
    first, second = outcomes(*counts)
    found = paired_test([first], [second])
    assert found.p() == pytest.approx(paired_outcomes(first, second).p(), rel=1e-12)
    assert found.difference == pytest.approx(paired_outcomes(first, second).difference)


@pytest.mark.parametrize("scores", [[3, 2, -1, 1, 0], [2, 2, 2, 2], [1, -3, 2, 2, -1, 3, 3], [0, 0]])
def test_with_several_seeds_it_is_the_share_of_all_sign_flips(scores):
    assert PairedTest(np.array(scores).clip(0), -np.array(scores).clip(max=0), 3).p() == pytest.approx(brute(scores))


def test_images_are_the_units_not_images_times_seeds():
    first, second = outcomes(both=20, first=6, second=0, neither=4)
    once, thrice = paired_test([first], [second]), paired_test([first] * 3, [second] * 3)
    assert thrice.p() == pytest.approx(once.p())  # the same networks three times are no new evidence
    assert thrice.interval() == pytest.approx(once.interval())
    assert thrice.difference == pytest.approx(once.difference)


def test_only_images_that_all_looked_at_count():
    found = paired_test(["11-1", "1011"], ["00-1", "0000"])
    assert found.scores.tolist() == [2, 1, 1]
    assert found.accuracies == pytest.approx((5 / 6, 1 / 6))


def test_the_interval_is_agrestis_and_mins():
    # b = 13, c = 4 of n = 50: half an image more in each of four runs
    low, high = paired_test(*([text] for text in outcomes(20, 13, 4, 13))).interval()
    b, c, n = 13.5, 4.5, 52
    half = 1.959964 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    assert (low, high) == pytest.approx(((b - c) / n - half, (b - c) / n + half))


def test_where_no_image_differs_the_interval_still_has_a_width():
    low, high = paired_test(["1" * 60], ["1" * 60]).interval()
    assert low == -high
    assert 0.02 < high < 0.06


def test_the_interval_holds_what_it_promises():
    draws = np.random.default_rng(0)
    runs = draws.multinomial(60, [0.5, 0.2, 0.1, 0.2], size=2000)
    hits = 0
    for both, first, second, neither in runs:
        low, high = paired_test(*([text] for text in outcomes(both, first, second, neither))).interval()
        hits += low <= 0.1 <= high
    assert hits >= binom.ppf(0.001, 2000, 0.95)


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.9])) == pytest.approx([1.0, 1.0])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="1 seeds against 2"):
        paired_test(["10"], ["10", "11"])
    with pytest.raises(UserError, match="different numbers of images"):
        paired_test(["10"], ["101"])
    with pytest.raises(UserError, match="no image that all looked at"):
        paired_test(["1-"], ["-1"])
