from dataclasses import replace

import numpy as np
import pytest

from cure.errors import UserError
from cure.evaluation.statistics.comparison import Table, compare
from cure.evaluation.statistics.intervals import nrr, wilson
from cure.evaluation.statistics.paired_outcomes import PairedOutcomes, paired_outcomes, worst


def table(name, images=None, data="", **outcomes):
    length = len(next(iter(outcomes.values())))
    return Table(name, list(range(length)) if images is None else images, outcomes, data)


def counted(both, first, second, neither):
    """The two outcomes with these counts."""
    first_text = "1" * both + "1" * first + "0" * second + "0" * neither
    return first_text, "1" * both + "0" * first + "1" * second + "0" * neither


def test_pairs_are_counted_where_both_looked():
    assert paired_outcomes("1100-1", "1010-0") == PairedOutcomes(both=1, first=2, second=1, neither=1)
    assert paired_outcomes("1-0", "111") == PairedOutcomes(1, 0, 1, 0)
    assert paired_outcomes("1110", "1000").difference == 0.5
    assert paired_outcomes("1110", "1000").right == (3, 1)


@pytest.mark.parametrize(
    ("first", "second", "two_sided", "greater"),
    [
        (0, 0, 1.0, 1.0),
        (1, 0, 1.0, 0.5),
        (6, 0, 2 / 64, 1 / 64),  # 2 and 1 of 2^6 ways
        (8, 1, 2 * 10 / 512, 10 / 512),  # nine tosses with at most one tail: 1 + 9 of 512
        (1, 8, 2 * 10 / 512, 511 / 512),
    ],
)
def test_mcnemar_by_hand(first, second, two_sided, greater):
    counts = PairedOutcomes(20, first, second, 20)
    assert counts.p() == pytest.approx(two_sided)
    assert counts.p("greater") == pytest.approx(greater)


def test_the_worst_of_several_outcomes():
    assert worst(["11-1-", "1011-"]) == "1011-"


@pytest.mark.parametrize(
    ("hits", "images", "low", "high"), [(5, 10, 0.2366, 0.7634), (0, 10, 0.0, 0.2775), (81, 263, 0.2553, 0.3662)]
)
def test_wilson_against_published_values(hits, images, low, high):
    # the last row is Newcombe, Statistics in Medicine 1998, table I: 81 of 263 gives 0.2553 to 0.3662
    assert wilson(hits, images) == pytest.approx((low, high), abs=5e-5)


def test_a_clear_difference_is_claimed():
    aa, bb = counted(both=400, first=50, second=19, neither=531)
    (found,) = compare(table("A", aa=aa), table("B", aa=bb), seed=0)
    assert found.counts == PairedOutcomes(400, 50, 19, 531)
    assert found.accuracy[0] == pytest.approx(0.031)
    # the standard error of a paired difference is sqrt(b + c - (b - c)^2 / n) / n
    half = 1.96 * np.sqrt(69 - 31**2 / 1000) / 1000
    assert found.accuracy[1:] == pytest.approx((0.031 - half, 0.031 + half), abs=1.5e-3)
    assert found.p < 0.001
    assert found.sentence.startswith("A is more robust than B under aa: 3.1 points [1.")


def test_the_better_one_comes_first():
    aa, bb = counted(400, 19, 50, 531)
    (found,) = compare(table("A", aa=aa), table("B", aa=bb), seed=0)
    assert found.accuracy[0] == pytest.approx(-0.031)
    assert found.sentence.startswith("B is more robust than A under aa: 3.1 points [1.")


def test_chance_claims_nothing():
    aa, bb = counted(400, 22, 19, 559)
    (found,) = compare(table("A", clean=aa), table("B", clean=bb), seed=0)
    assert found.accuracy[1] < 0 < found.accuracy[2]
    assert found.sentence.startswith("no difference can be claimed between A and B on clean images: 0.3 points [-")
    assert found.ratio is None


def test_equals_are_equal():
    same = table("A", clean="1101", aa="0100")
    for found in compare(same, same, seed=0):
        assert (found.p, found.accuracy) == (1.0, (0.0, 0.0, 0.0))


def test_the_ratio_by_hand_and_its_interval_against_drawing_images():
    draws = np.random.default_rng(3)
    clean_a, clean_b = draws.random(200) < 0.9, draws.random(200) < 0.8
    robust_a, robust_b = clean_a & (draws.random(200) < 0.5), clean_b & (draws.random(200) < 0.6)
    text = ["".join("01"[int(hit)] for hit in flags) for flags in (clean_a, robust_a, clean_b, robust_b)]
    found = compare(table("A", clean=text[0], aa=text[1]), table("B", clean=text[2], aa=text[3]), seed=0)[1]

    def gap(rows):
        means = [float(flags[rows].mean()) for flags in (clean_a, robust_a, clean_b, robust_b)]
        return nrr(means[0], means[1]) - nrr(means[2], means[3])

    assert found.ratio[0] == pytest.approx(gap(slice(None)))
    slow = [gap(draws.integers(200, size=200)) for _ in range(4000)]
    assert found.ratio[1:] == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.01)


def test_images_that_one_did_not_look_at_do_not_count():
    (_, found) = compare(table("A", clean="1111", aa="11-0"), table("B", clean="1111", aa="1-00"), seed=0)
    assert found.counts == PairedOutcomes(1, 0, 0, 1)
    assert found.ratio[0] == 0


def test_the_seed_decides():
    draws = np.random.default_rng(0)
    a, b = (table(name, aa="".join("01"[hit] for hit in draws.integers(2, size=1999))) for name in "AB")
    assert compare(a, b, seed=1) == compare(a, b, seed=1)
    assert compare(a, b, seed=1) != compare(a, b, seed=2)


@pytest.mark.parametrize(
    ("a", "b", "refusal"),
    [
        (table("A", aa="101"), table("B", aa="10"), "compare: A on 3 images, B on 2; evaluate both on the same number"),
        (
            table("A", [0, 2], aa="10"),
            table("B", [0, 1], aa="10"),
            "compare: different images (place 1 is image 2 of the test split for A, 1 for B); "
            "evaluate both on the same ones",
        ),
        (
            table("A", data="x", aa="1"),
            table("B", data="y", aa="1"),
            "compare: A and B were evaluated on different data sets; use one data file",
        ),
        (
            replace(table("A", aa="1"), norm="l2", eps=0.5),
            replace(table("B", aa="1"), eps=0.25),
            "compare: A was attacked in the L2 ball, eps 0.5, B in the L-inf ball, eps 0.25; "
            "evaluate both under one threat model",
        ),
        (table("A", [0], aa="10"), table("B", [0], aa="1"), "A: aa has 2 outcomes of 1 images"),
        (table("A", aa="1"), table("B", pgd="1"), "compare: no column in common; A has aa, B pgd"),
        (
            table("A", aa="1-"),
            table("B", aa="-1"),
            "outcomes: no image that both cover; evaluate both on the same images",
        ),
        (
            table("A", aa="1x"),
            table("B", aa="11"),
            "outcomes: 'x' found; allowed are only 1 (correct), 0 and - (not evaluated)",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(a, b, refusal):
    with pytest.raises(UserError) as refused:
        compare(a, b, seed=0)
    assert str(refused.value) == refusal
