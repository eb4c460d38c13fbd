"""Which column of ours stands beside a published attack, and what is said to differ."""

import pytest

from cure.published import attacks
from cure.published.attacks import NO_COLUMN, UNKNOWN, PublishedAttack
from cure.settings.params import read
from tests.support.project import ROOT

SETTINGS = read(ROOT / "params.yaml")["attack"]["columns"]
NAMES = ("fgsm", "pgd20", "pgd20_trades", "pgd100", "cw20", "cw100", "aa")
KNOWN = attacks.columns({name: SETTINGS[name] for name in NAMES}, 8 / 255, 2 / 255)
PGD20 = {"attack": "pgd", "eps": "8/255", "step": "2/255", "steps": 20, "start": "uniform", "clip_start": True}
CURE = PGD20 | {"step": 0.003, "clip_start": False}
TRADES = CURE | {"eps": 0.031}
AA = {"attack": "autoattack", "eps": "8/255", "version": "standard", "iterations": 100}


def ours(measure, published, known=KNOWN):
    return attacks.ours(measure, PublishedAttack(**published), known)


def test_the_same_attack_is_found_whatever_its_column_is_called():
    assert ours("pgd20", PGD20) == ("pgd20", [])
    assert ours("pgd20", TRADES) == ("pgd20_trades", [])
    assert ours("pgd20", CURE, KNOWN | {"theirs": CURE}) == ("theirs", [])
    assert ours("aa", AA) == ("aa", [])


def test_another_radius_is_farther_than_step_and_start():
    assert ours("pgd20", CURE) == ("pgd20", ["step 0.003, here 2/255", "start clipped to [0, 1]: no, here yes"])


def test_cw_has_the_column_with_the_nearest_number_of_steps():
    published = PGD20 | {"attack": "cw", "steps": 100, "clip_start": False}
    assert ours("cw", published) == ("cw100", ["start clipped to [0, 1]: no, here yes"])
    assert ours("cw", published | {"steps": 20, "clip_start": True}) == ("cw20", [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"iterations": 10}, "iterations 10, here 100"),
        ({"eps": 0.031}, "eps 0.031, here 8/255"),
        ({"version": "custom"}, "version custom, here standard"),
        ({"also": "in torchattacks"}, "in torchattacks"),
    ],
)
def test_every_difference_is_said(change, said):
    assert ours("aa", AA | change) == ("aa", [said])


def test_the_worst_of_several_runs_is_another_attack_than_one_run():
    assert ours("pgd20", PGD20 | {"restarts": 3}) == ("pgd20", ["restarts 3, here 1"])
    assert ours("pgd20", PGD20 | {"restarts": 1}) == ("pgd20", [])


def test_what_is_not_known_of_an_attack_is_not_compared_and_said():
    assert ours("pgd20", {"attack": "pgd", "eps": "8/255", "steps": 20}) == ("pgd20", [UNKNOWN])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (2 / 225, "2/225"),
        (0.003, "0.003"),
        (0.031, "0.031"),
        (0.15, "0.15"),
        (True, "yes"),
        (10, "10"),
    ],
)
def test_numbers_are_spelt_as_papers_spell_them(value, text):
    assert attacks.spelled(value) == text


def test_of_two_columns_that_are_as_near_the_one_called_like_the_measure_is_taken():
    published = {"attack": "autoattack", "eps": "8/255", "version": "standard", "iterations": 10}
    rand = {"aa_rand": KNOWN["aa"] | {"iterations": 99}}
    assert ours("aa", published, rand | KNOWN)[0] == "aa"


def test_an_unknown_attack_and_a_missing_column_are_said_to_be_so():
    assert attacks.ours("cw", None, KNOWN) == ("cw20", [UNKNOWN])
    assert attacks.ours("cw", None, {}) == (None, [NO_COLUMN])
    assert ours("pgd10", PGD20 | {"steps": 10}, {"fgsm": KNOWN["fgsm"]}) == (None, [NO_COLUMN])


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("aa_best", "aa"), ("pgd10_gain", "pgd10"), ("nrr", "cw"), ("nrr_aa", "aa"), ("sum", "aa")]
    + [(measure, None) for measure in ("clean", "clean_last", "ood", "ood_gain", "mrc")],
)
def test_the_attack_behind_a_measure(measure, expected):
    assert attacks.attacked(measure) == expected
