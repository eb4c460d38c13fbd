"""claims.yaml says what others than a method's authors measured, and which windows follow from it."""

import math
import statistics
from collections import Counter

import pytest
from scipy.stats import t as student

from cure.published.claims import load
from tests.support.project import ROOT

PUBLISHED = load(ROOT / "claims.yaml")
CLAIMS = PUBLISHED.claims

REPRODUCED = {  # as found in the sources that claims.yaml names
    ("lethesec", "resnet18", "at"): {"clean": 82.57, "pgd20": 51.28, "cw": 49.66},
    ("lethesec", "resnet18", "trades"): {"clean": 80.86, "pgd20": 51.23, "cw": 48.18},
    ("lethesec", "resnet18", "lbgat"): {"clean": 76.40, "pgd20": 53.19, "cw": 50.41},
    ("lethesec", "wrn_34_10", "lbgat"): {"clean": 79.47, "pgd20": 56.74, "cw": 54.08},
    ("lethesec", "resnet18", "mart"): {"clean": 78.59, "pgd20": 54.87, "cw": 49.14},
    ("lethesec", "resnet18", "st_at"): {"clean": 83.39, "pgd20": 53.85, "cw": 50.96},
    ("lethesec", "resnet18", "awp"): {"clean": 82.30, "pgd20": 54.73, "cw": 52.05},
    ("mair", "resnet18", "at"): {"pgd10": 52.73, "aa": 48.67},
    ("mair", "resnet18", "trades"): {"pgd10": 53.47, "aa": 49.45},
    ("mair", "resnet18", "mart"): {"pgd10": 54.73, "aa": 47.51},
    ("mair", "resnet18", "awp"): {"pgd10": 55.52, "aa": 50.80},
    ("rice", "preact_resnet18", "at"): {
        "clean_best": 82.92,
        "clean_last": 84.93,
        "pgd10_best": 53.49,
        "pgd10_last": 45.59,
    },
    ("fastat", "resnet18", "at_ema"): {"clean": 82.36, "pgd20": 54.28, "aa": 50.49},
    ("robustbench", "wrn_34_10", "trades"): {"clean": 84.92, "aa": 53.08},
    ("robustbench", "wrn_34_10", "trades_awp"): {"clean": 85.36, "aa": 56.17},
    ("robustbench", "wrn_34_10", "lbgat"): {"clean": 88.22, "aa": 52.86},
    ("robustbench", "wrn_34_10", "ikl_at"): {"clean": 85.31, "aa": 57.09},
    ("robustbench", "preact_resnet18", "hat_generated"): {"clean": 86.86, "aa": 57.09},
    ("robustbench", "preact_resnet18", "hat_real"): {"clean": 89.02, "aa": 57.67},
    ("robustbench", "wrn_34_10", "hat_real"): {"clean": 91.47, "aa": 62.83},
}


def test_reproductions_are_a_kind_of_their_own():
    assert {c.kind for c in CLAIMS} == {"claim"}
    assert {c.kind for c in PUBLISHED.reproductions} == {"reproduction"}
    assert Counter(c.paper for c in PUBLISHED.reproductions) == {
        "lethesec": 12,
        "mair": 8,
        "rice": 1,
        "awp": 2,
        "fastat": 1,
        "robustbench": 7,
    }
    assert {c.paper for c in CLAIMS} & {c.paper for c in PUBLISHED.reproductions} == set()
    assert [c.source for c in PUBLISHED.reproductions if "github.com" not in c.source] == []


def test_reproduced_numbers_are_those_of_their_sources():
    found = {(c.paper, c.model, c.method): c.values for c in PUBLISHED.reproductions}
    assert {key: found[key] for key in REPRODUCED} == REPRODUCED
    awp = found["awp", "preact_resnet18", "at"], found["awp", "preact_resnet18", "awp"]
    assert [(one["clean_best"], one["pgd20_best"]) for one in awp] == [(81.70, 52.79), (81.18, 55.39)]


def test_numbers_that_were_read_once_say_so():
    once = {c.paper for c in PUBLISHED.reproductions if "not among the stored sources" in c.caveat}
    assert once == {"rice", "awp"}


def test_a_paper_that_could_not_be_verified_has_no_table():
    assert set(PUBLISHED.unverified) == {"act", "ard", "generalist", "gkl_at", "iad", "las_at", "part", "st_at", "vfd"}
    assert set(PUBLISHED.unverified) & {c.paper for c in CLAIMS} == set()
    assert "10 steps in place of 100" in PUBLISHED.unverified["part"]
    assert "reconstruction" in PUBLISHED.unverified["vfd"]
    assert [c for c in (*CLAIMS, *PUBLISHED.reproductions) if c.method in ("vfd", "part", "generalist")] == []


FASTAT = {"clean": [82.45, 82.62, 82.00], "pgd20": [54.39, 54.39, 54.05], "aa": [50.56, 50.59, 50.32]}
"""The three seeds at the ends of the logs under log/cifar10/pgd_at_wa."""


@pytest.mark.parametrize("measure", FASTAT)
def test_the_window_of_an_average_is_the_prediction_interval_of_its_three_seeds(measure):
    windows = [one for one in PUBLISHED.windows if one.average]
    assert [one.method for one in windows] == ["at", "at_ema"]
    (row,) = [c for c in PUBLISHED.reproductions if c.method == "at_ema"]
    mean, deviation = statistics.mean(FASTAT[measure]), statistics.stdev(FASTAT[measure])
    assert (row.values[measure], row.deviations[measure]) == pytest.approx((mean, deviation), abs=0.005)
    half = student.ppf(0.975, 2) * deviation * math.sqrt(1 + 1 / 3)
    for window in windows:
        assert window.ends[measure] == pytest.approx([mean - half, mean + half], abs=0.005)


def test_a_window_holds_the_reproductions_that_it_comes_from():
    reproduced = {(c.paper, c.method): c.values for c in PUBLISHED.reproductions if c.model == "resnet18"}
    for window in PUBLISHED.windows:
        assert (window.dataset, window.model, window.images) == ("cifar10", "resnet18", 10000)
        for (paper, method), values in reproduced.items():
            for measure in set(window.ends) & set(values) if method == window.method and not window.average else ():
                low, high = window.ends[measure]
                assert low <= values[measure] <= high, (paper, method, measure)
