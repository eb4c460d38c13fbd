"""Intervals of two networks, against what can be counted by hand, and Holm's adjustment."""

import numpy as np
import pytest
from scipy.stats import binom

from cure.evaluation.statistics.paired_outcomes import PairedOutcomes
from cure.evaluation.statistics.paired_tests import holm, paired_interval


def test_the_interval_is_agrestis_and_mins():
    # b = 13, c = 4 of n = 50: half an image more in each of four runs
    low, high = paired_interval(PairedOutcomes(20, 13, 4, 13))
    b, c, n = 13.5, 4.5, 52
    half = 1.959964 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    assert (low, high) == pytest.approx(((b - c) / n - half, (b - c) / n + half))


def test_where_no_image_differs_the_interval_still_has_a_width():
    low, high = paired_interval(PairedOutcomes(60, 0, 0, 0))
    assert low == -high
    assert 0.02 < high < 0.06


def test_the_interval_holds_what_it_promises():
    draws = np.random.default_rng(0)
    runs = draws.multinomial(60, [0.5, 0.2, 0.1, 0.2], size=2000)
    ends = [paired_interval(PairedOutcomes(*run.tolist())) for run in runs]
    assert sum(low <= 0.1 <= high for low, high in ends) >= binom.ppf(0.001, 2000, 0.95)


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.9])) == pytest.approx([1.0, 1.0])
