"""The two-level model against formulas worked out otherwise, and its promise of 95 % against simulated methods."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy.stats import binom, norm

from cure.errors import UserError
from cure.evaluation.statistics.intervals import NORMAL_95
from cure.evaluation.statistics.two_level import Scores, TwoLevel, accuracies, of_counts, of_the_same_runs

SEEDS, IMAGES = 3, 200
RUNS, HARD, OWN = 0.2, 1.5, 0.5  # deviations of training runs, of images, and of images for a method, before the probit
REPEATS = 400
SURE = binom.ppf([0.0005, 0.9995], REPEATS, 0.95) / REPEATS


def trained(draws, methods=2, mean=0.3, runs=RUNS, seeds=SEEDS):
    """Methods whose networks are right where a normal draw is below mean + run + image."""
    images = draws.normal(0, HARD, IMAGES)
    each = [mean] * methods if isinstance(mean, float) else mean
    return TwoLevel({str(i): Scores(_right(draws, images, each[i], runs, seeds)) for i in range(methods)})


def _right(draws, images, mean, runs, seeds):
    level = mean + draws.normal(0, runs, (seeds, 1)) + images + draws.normal(0, OWN, IMAGES)
    return (draws.normal(0, 1, (seeds, IMAGES)) < level).astype(float)


def true_mean(mean):
    return norm.cdf(mean / sqrt(1 + RUNS**2 + HARD**2 + OWN**2))


def images_only(methods):
    """Whether 0 is in the interval that takes images alone for random."""
    gap = methods.scores["0"].per_image - methods.scores["1"].per_image
    return abs(gap.mean()) <= NORMAL_95 * gap.std(ddof=1) / sqrt(IMAGES)


def texts(rows):
    return ["".join("1" if one else "0" for one in row) for row in rows]


def test_the_interval_holds_what_it_promises_and_that_of_images_alone_does_not():
    draws = np.random.default_rng(0)
    hits = np.zeros(3)
    for _ in range(REPEATS):
        found = trained(draws)
        low, high = found.mean("0").interval()
        below, above = found.difference("0", "1").interval()
        hits += [low <= true_mean(0.3) <= high, below <= 0 <= above, images_only(found)]
    assert SURE[0] <= hits[0] / REPEATS
    assert SURE[0] <= hits[1] / REPEATS <= SURE[1]
    assert hits[2] / REPEATS < 0.85


def test_what_it_calls_detectable_is_found_in_four_of_five():
    draws = np.random.default_rng(1)
    other = 1.2
    true = true_mean(other) - true_mean(0.3)
    found = [trained(draws, mean=[other, 0.3]).difference("0", "1") for _ in range(REPEATS)]
    levels = np.array([0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001])
    smallest = np.median([[one.detectable(level) for level in levels] for one in found], axis=0)
    near = int(np.argmin(abs(smallest - true)))
    assert abs(smallest[near] - true) < 0.02
    assert 0.65 < np.mean([one.p() < levels[near] for one in found]) < 0.9


def test_the_variance_is_that_of_the_analysis_of_variance():
    y = np.random.default_rng(2).random((4, 30)) + np.arange(4)[:, None] / 10
    (s, n), mean = y.shape, y.mean()
    rows, columns = y.mean(axis=1), y.mean(axis=0)
    residual = ((y - rows[:, None] - columns + mean) ** 2).sum() / ((s - 1) * (n - 1))
    seeds, images = n * rows.var(ddof=1), s * columns.var(ddof=1)
    more = 2 * (1 - mean) ** 2 + 2 * mean**2  # Agresti and Coull's four images
    expected = (seeds + images + s * more / (n - 1) - residual) / (s * n)
    assert residual < min(seeds, images)
    assert TwoLevel({"a": Scores(y)}).mean("a").variance == pytest.approx(expected)


def test_with_alike_seeds_images_alone_count_and_with_alike_images_seeds():
    hard = np.random.default_rng(3).random(50) < 0.5
    same = TwoLevel({name: Scores(np.tile(hard if name == "a" else ~hard, (3, 1)).astype(float)) for name in "ab"})
    assert same.trainings.between == 0
    found = same.difference("a", "b")
    assert found.variance == pytest.approx(((hard * 2 - 1 - found.value) ** 2).sum() / (50 * 49), rel=0.05)
    assert found.degrees == pytest.approx(49)
    steady = TwoLevel({name: Scores(np.repeat([[0.4], [0.5], [0.6]], 50, axis=1)) for name in "ab"})
    found = steady.difference("a", "b")
    assert found.variance == pytest.approx(2 * 0.01 / 3, rel=0.07)
    assert found.degrees == pytest.approx(4, abs=0.6)


def test_the_floor_is_the_larger_single_part():
    found = trained(np.random.default_rng(4), runs=0.0, methods=6)
    pooled = found.trainings
    for first, second in (("0", "1"), ("2", "5"), ("3", "4")):
        gap = found.scores[first].per_image - found.scores[second].per_image
        assert found.difference(first, second).variance >= gap.var(ddof=1) / IMAGES
        assert found.difference(first, second).variance >= 2 * pooled.between / SEEDS


def test_seeds_are_pooled_over_methods_and_what_never_differs_is_left_out_and_named():
    found = trained(np.random.default_rng(5), methods=3)
    alone = [one.between for one in found.scores.values()]
    assert found.trainings.between == pytest.approx(np.mean(alone))
    assert (found.trainings.degrees, found.trainings.left_out) == (6, ())
    more = TwoLevel(found.scores | {"none": Scores(np.zeros((SEEDS, IMAGES)))})
    assert more.trainings.between == pytest.approx(np.mean(alone))
    assert (more.trainings.degrees, more.trainings.left_out) == (6, ("none",))
    low, high = more.mean("none").interval()
    assert low == 0 < high
    almost = np.zeros((SEEDS, IMAGES))
    almost[0, :2] = 1  # the variance of a share near 0 says nothing about the others
    assert TwoLevel(found.scores | {"almost": Scores(almost)}).trainings == replace(
        more.trainings, left_out=("almost",)
    )


def test_a_method_that_fine_tunes_another_counts_no_runs_twice_and_is_compared_with_it_run_by_run():
    found = trained(np.random.default_rng(8), methods=3)
    tuned = found.scores["1"].values.copy()
    tuned[:, :4] = 1  # four images more, whichever run
    both = TwoLevel(found.scores | {"tuned": Scores(tuned)}, {"tuned": "1", "other": "absent"})
    assert both.trainings == replace(found.trainings, left_out=("tuned",))
    run_by_run = of_the_same_runs(texts(tuned), texts(found.scores["1"].values))
    assert both.difference("tuned", "1") == run_by_run
    assert both.difference("1", "tuned").variance == pytest.approx(run_by_run.variance)
    assert run_by_run.variance < TwoLevel(both.scores).difference("tuned", "1").variance / 4
    assert both.difference("tuned", "0").variance == pytest.approx(found.difference("1", "0").variance, rel=0.05)


def test_where_all_outcomes_are_equal_the_interval_still_has_a_width():
    same = accuracies({"a": ["1" * 60] * 3, "b": ["1" * 60] * 3})
    found = same.difference("a", "b")
    assert (found.value, found.p()) == (0, 1)
    assert 0.02 < found.interval()[1] == -found.interval()[0] < 0.06
    low, high = same.mean("a").interval()
    assert 0.93 < low < 0.97
    assert high == 1


def test_only_images_that_every_network_looked_at_count():
    found = accuracies({"a": ["11-11", "10111"], "b": ["0000-", "00000"]})
    assert found.images == 3
    assert found.scores["a"].per_image.tolist() == [1, 0.5, 1]
    assert found.difference("a", "b").value == pytest.approx(5 / 6)


def test_networks_of_the_same_runs_are_paired_by_seed():
    draws = np.random.default_rng(7)
    best = [draws.random(IMAGES) < level for level in (0.2, 0.5, 0.8)]
    last = [one & (np.cumsum(one) > 12) for one in best]  # each forgets twelve images
    paired = of_the_same_runs(texts(best), texts(last))
    apart = accuracies({"best": texts(best), "last": texts(last)}).difference("best", "last")
    assert paired.value == pytest.approx(apart.value)
    assert paired.p() < 0.05 < apart.p()  # runs differ by far more than the two networks of each


def test_counts_cover_both_levels():
    shares = np.array([0.5, 0.52, 0.54]), np.array([0.4, 0.42, 0.44])
    found = of_counts(*shares, 10**6, same_runs=False)
    assert found.variance == pytest.approx(2 * 0.0004 / 3, rel=0.01)
    assert found.degrees == pytest.approx(4, rel=0.01)
    alike = of_counts(np.full(3, 0.5), np.full(3, 0.5), 100, same_runs=False)
    assert alike.variance == pytest.approx(2 * 0.25 / 102)
    assert of_counts(*shares, 10**6, same_runs=True).p() < found.p()


@pytest.mark.reliability("wrong inputs")
def test_what_tells_nothing_of_methods_is_refused():
    with pytest.raises(
        UserError, match=r"one seed does not represent other training runs; list several in grid\.seeds"
    ):
        accuracies({"a": ["10"], "b": ["11"]})
    with pytest.raises(UserError, match=r"one image does not represent other images; evaluate two or more"):
        accuracies({"a": ["1-", "1-"], "b": ["1-", "0-"]})
    with pytest.raises(UserError, match="different numbers of seeds"):
        accuracies({"a": ["10", "11"], "b": ["11"]})
    with pytest.raises(UserError, match="different numbers of images"):
        accuracies({"a": ["10", "111"]})
    with pytest.raises(UserError, match="no image that all cover"):
        accuracies({"a": ["1-", "1-"], "b": ["-1", "-1"]})
    with pytest.raises(UserError, match="methods of different numbers"):
        TwoLevel({"a": Scores(np.zeros((2, 3))), "b": Scores(np.zeros((2, 4)))})
