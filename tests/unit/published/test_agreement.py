"""A measured share beside a published one: the difference, its interval, and whether both can be right."""

from dataclasses import replace

import pytest

from cure.published.agreement import Agreement, compare, difference
from cure.published.attacks import UNKNOWN, PublishedAttack
from cure.published.claims import Claim

PGD20 = {"attack": "pgd", "eps": 8 / 255, "step": 2 / 255, "steps": 20, "start": "uniform", "clip_start": True}
CURE = PGD20 | {"step": 0.003, "clip_start": False}
KNOWN = {"pgd20": PGD20, "pgd20_cure": CURE, "aa": {"attack": "autoattack", "eps": 8 / 255}}


def claim(values, **under) -> Claim:
    place = {
        "paper": "cure",
        "table": "Table 1",
        "dataset": "cifar10",
        "model": "resnet18",
        "source": "",
        "setting": "",
    }
    under = {measure: PublishedAttack(**one) for measure, one in under.items()}
    said = {"kind": "claim", "method": "at", "caveat": "Doubtful.", "misprinted": {}}
    return Claim(**place, **said, values=values, deviations={"clean": 0.5} if "clean" in values else {}, under=under)


def beside(values, counts, **under) -> list[Agreement]:
    return compare(claim(values, **under), counts, KNOWN, 10000)


def test_the_interval_is_newcombes():
    # Newcombe, Statistics in Medicine 1998, method 10: 56/70 - 48/80 = 0.2 (0.0524, 0.3339)
    gap, low, high = difference(56, 70, 48 / 80, 80)
    assert (gap, low, high) == pytest.approx((0.2, 0.0524, 0.3339), abs=2e-4)


def test_a_printed_deviation_over_seeds_widens_it():
    narrow, wide = (difference(5100, 10000, 0.5, 10000, deviation) for deviation in (None, 0.01))
    assert wide[1] < narrow[1] < narrow[0] < narrow[2] < wide[2]
    assert wide[0] == narrow[0]


def test_a_network_can_agree_with_its_own_printed_number_and_not_with_one_far_away():
    same, far = (beside({"aa": value}, {"aa": (4912, 10000)})[0] for value in (49.12, 44.63))
    assert same.agrees is True
    assert same.difference[0] == pytest.approx(0)
    assert far.agrees is False
    assert far.difference[0] == pytest.approx(0.0449)


def test_a_hundred_images_cannot_contradict_what_ten_thousand_do():
    few, many = (beside({"aa": 44.63}, {"aa": (hits, n)})[0] for hits, n in ((49, 100), (4900, 10000)))
    assert (few.agrees, many.agrees) == (True, False)


def test_the_column_with_the_published_attack_is_taken_and_another_one_is_named():
    counts = {"pgd20": (5000, 10000), "pgd20_cure": (5200, 10000)}
    (same,) = beside({"pgd20": 52.00}, counts, pgd20=CURE)
    assert (same.column, same.differs, same.same) == ("pgd20_cure", [], None)
    (other,) = beside({"pgd20": 52.00}, {"pgd20": (5000, 10000)}, pgd20=CURE)
    assert (other.column, other.same) == ("pgd20", "pgd20_cure")
    assert "step 0.003, here 2/255" in other.differs
    (unknown,) = beside({"pgd20": 52.00}, counts)
    assert (unknown.column, unknown.differs, unknown.same) == ("pgd20", [UNKNOWN], None)


def test_what_was_not_measured_says_by_which_column_it_would_be():
    (line,) = beside({"pgd20": 52.00}, {"clean": (8000, 10000)}, pgd20=CURE)
    assert (line.column, line.ours, line.agrees, line.same) == (None, None, None, "pgd20_cure")


def test_best_and_last_epochs_stand_beside_the_one_network_and_ratios_are_left_out():
    values = {"clean_best": 82.0, "clean_last": 84.0, "clean_delta": 2.0, "aa_best": 48.0, "nrr": 60.0, "ood": 70.0}
    lines = beside(values, {"clean": (8200, 10000), "aa": (4800, 10000)})
    assert [(line.measure, line.column) for line in lines] == [
        ("clean_best", "clean"),
        ("clean_last", "clean"),
        ("aa_best", "aa"),
    ]
    assert [line.agrees for line in lines] == [True, False, True]
    assert {line.caveat for line in lines} == {"Doubtful."}


def test_without_a_measured_number_there_is_no_answer():
    (line,) = beside({"aa": 48.0}, {"aa": (4800, 10000)})
    assert replace(line, difference=None).agrees is None
