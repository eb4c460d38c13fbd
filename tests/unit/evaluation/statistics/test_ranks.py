"""Ranks of methods whose order is known, certain, open or equal."""

import numpy as np
import pytest

from cure.evaluation.statistics.ranks import ranks
from cure.evaluation.statistics.two_level import Scores, TwoLevel

MEANS = {"d": 0.0, "a": 0.15, "c": 0.05, "b": 0.1}  # before the probit


def trained(draws, means=MEANS, images=200, runs=0.2):
    hard = draws.normal(0, 1.5, images)
    level = {name: mean + draws.normal(0, runs, (3, 1)) + hard for name, mean in means.items()}
    return TwoLevel(
        {name: Scores((draws.normal(0, 1, (3, images)) < one).astype(float)) for name, one in level.items()}
    )


def test_a_certain_order_has_no_other_rank():
    shares = {"low": 0.1, "high": 0.9, "middle": 0.5}
    found = ranks(
        TwoLevel({name: Scores(np.tile(np.arange(500) < 500 * s, (3, 1)).astype(float)) for name, s in shares.items()})
    )
    assert {name: (one.rank, one.low, one.high) for name, one in found.items()} == {
        "high": (1, 1, 1),
        "middle": (2, 2, 2),
        "low": (3, 3, 3),
    }
    assert [found[name].first for name in shares] == [0, 1, 0]


def test_the_true_rank_is_in_the_interval_as_often_as_promised():
    draws = np.random.default_rng(0)
    hits = [ranks(trained(draws)) for _ in range(100)]
    held = {
        name: np.mean([one[name].low <= place <= one[name].high for one in hits])
        for place, name in enumerate("abcd", 1)
    }
    assert min(held.values()) >= 0.9
    assert any(one["a"].rank > 1 for one in hits)  # which the measured order does not promise


def test_equal_methods_share_a_rank_and_the_chance_to_be_first():
    draws = np.random.default_rng(1)
    right = (draws.random((3, 100)) < 0.5).astype(float)
    found = ranks(TwoLevel({name: Scores(right) for name in "ab"}))
    assert [(one.rank, one.low, one.high) for one in found.values()] == [(1, 1, 2)] * 2
    assert found["a"].first == pytest.approx(0.5, abs=0.01)
    assert found["a"].first + found["b"].first == pytest.approx(1)


def test_a_method_that_fine_tunes_another_moves_with_it():
    found = trained(np.random.default_rng(3), {"a": 0.0, "b": 0.0})
    tuned = found.scores["a"].values.copy()
    tuned[:, np.flatnonzero(~tuned.any(axis=0))[:6]] = 1  # a few images more in every run
    scores = found.scores | {"tuned": Scores(tuned)}
    apart, moved = (ranks(TwoLevel(scores, starts)) for starts in ({}, {"tuned": "a"}))
    assert moved["a"].first < 0.02 < apart["a"].first


def test_images_that_all_share_do_not_blur_the_order():
    draws = np.random.default_rng(2)
    hard = draws.random(60) < 0.5
    better = hard | (draws.random(60) < 0.25)
    shared = {"worse": hard, "better": better}
    apart = {"worse": hard, "better": draws.permutation(better)}
    first = [
        ranks(TwoLevel({n: Scores(np.tile(one, (3, 1)).astype(float)) for n, one in both.items()}))
        for both in (shared, apart)
    ]
    assert first[0]["better"].first > 0.97 > first[1]["better"].first


def test_runs_that_differ_blur_it():
    steady, unsteady = (trained(np.random.default_rng(3), images=2000, runs=runs) for runs in (0.0, 0.6))
    width = [sum(one.high - one.low for one in ranks(methods).values()) for methods in (steady, unsteady)]
    assert width[0] < width[1]
