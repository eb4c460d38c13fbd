"""reports/corruptions.md and the mean of the table, against numbers worked out by hand."""

import pytest

from cure.errors import UserError
from cure.evaluation.statistics.results import CorruptResult
from cure.evaluation.statistics.summaries import corrupted_mean
from cure.reporting import corrupted
from cure.storage.paths import Run

UNLISTED = "not listed in params.yaml"


def result(correct, missing=None, clean=8, **changed):
    """Of 10 images: contrast is digital, fog and frost weather, speckle_noise an extra."""
    categories = {"contrast": "digital", "fog": "weather", "frost": "weather", "speckle_noise": "noise"}
    missing = {name: UNLISTED for name in categories if name not in correct} | (missing or {})
    found = {
        "images": 10,
        "source": "generated",
        "version": "cifar-c 1",
        "missing": missing,
        "categories": categories,
        "extra": ["speckle_noise"],
        "clean": clean,
        "correct": {name: {str(s): right for s, right in by.items()} for name, by in correct.items()},
    }
    return CorruptResult(**(found | changed))


def of(method, seed=0):
    return Run("digits", "small", method, seed)


FALLING = {1: 8, 2: 6, 3: 4, 4: 2, 5: 0}  # mean 4 of 10
FLAT = dict.fromkeys(range(1, 6), 6)
EXTRA = dict.fromkeys(range(1, 6), 10)


def test_the_mean_is_over_every_cell_of_the_benchmark_and_no_extra():
    results = {of("at"): result({"contrast": FALLING, "fog": FLAT, "frost": FLAT, "speckle_noise": EXTRA})}
    names = corrupted.counted(results)
    assert names == ["contrast", "fog", "frost"]
    assert corrupted_mean(results[of("at")], names) == pytest.approx((40 + 60 + 60) / 3)
    told = (
        "Corrupted: mean over 3 of the 3 corruptions of CIFAR-10-C, at 5 severities; 10 generated images (cifar-c 1)."
    )
    assert corrupted.note(results) == told


def test_what_is_missing_is_named_with_its_reason():
    lacks = {"frost": "needs the optional extra `corruptions`, no module cv2"}
    results = {of("at"): result({"contrast": FALLING, "speckle_noise": EXTRA}, lacks)}
    assert (
        "mean over 1 of the 3 corruptions of CIFAR-10-C, without fog (not listed in params.yaml), "
        "frost (needs the optional extra `corruptions`, no module cv2), at 5 severities"
    ) in corrupted.note(results)


def test_rows_are_means_over_the_same_corruptions():
    results = {of("at"): result({"contrast": FALLING, "fog": FLAT}), of("cure"): result({"contrast": FLAT})}
    assert corrupted.counted(results) == ["contrast"]
    assert "without fog (not listed in params.yaml), frost (" in corrupted.note(results)
    assert set(corrupted.shared(results)["corruption"]) == {"contrast"}
    assert len(corrupted.lines(results)) == 15
    assert "| fog | in no mean | 60.00 | nan |" in corrupted.page(results, ["at", "cure"])


def test_fewer_severities_are_named():
    results = {of("at"): result({"contrast": {1: 8, 3: 4}})}
    assert ", at severity 1, 3 of 5; " in corrupted.note(results)


def test_a_mean_over_nothing_is_refused():
    with pytest.raises(UserError, match="no row has any of contrast, fog, frost"):
        corrupted.counted({of("at"): result({"speckle_noise": EXTRA})})


def test_every_source_is_named():
    results = {of("at"): result({"fog": FLAT}), of("cure"): result({"fog": FLAT}, source="official", version="x")}
    assert corrupted.note(results).endswith("; 10 generated images (cifar-c 1), 10 official images (x).")
    assert list(corrupted.lines(results)["source"].unique()) == ["generated", "official"]


def test_the_page_has_categories_severities_and_the_relative_drop():
    # AT, seeds 0 and 1: contrast 40 and 60, fog 60: corrupted 50 and 60, clean 80: drops 37.5 and 25 %
    results = {
        of("at", 0): result({"contrast": FALLING, "fog": FLAT, "speckle_noise": EXTRA}),
        of("at", 1): result({"contrast": FLAT, "fog": FLAT, "speckle_noise": EXTRA}),
        of("cure"): result({"contrast": FLAT, "fog": FLAT, "speckle_noise": EXTRA}, clean=0),
    }
    page = corrupted.page(results, ["cure", "at"]).splitlines()
    wanted = [
        "| Method | Clean | Corrupted | Drop | weather | digital | Source |",
        "| CURE | 0.00 | 60.00 | nan | 60.00 | 60.00 | generated, 10 images |",
        "| AT | 80.00 ± 0.00 | 55.00 ± 7.07 | 31.25 ± 8.84 | 60.00 ± 0.00 | 50.00 ± 14.14 | generated, 10 images |",
        "| AT | weather" + 5 * " | 60.00 ± 0.00" + " |",
        "| AT | digital | 70.00 ± 14.14 | 60.00 ± 0.00 | 50.00 ± 14.14 | 40.00 ± 28.28 | 30.00 ± 42.43 |",
        "| contrast |  | 60.00 | 50.00 ± 14.14 |",
        "| speckle_noise | in no mean | 100.00 | 100.00 ± 0.00 |",
    ]
    assert [line for line in wanted if line not in page] == []
    assert page.index(wanted[1]) < page.index(wanted[2])


def test_lines_hold_every_corruption_with_its_category_and_source():
    lines = corrupted.lines({of("at"): result({"contrast": FALLING, "speckle_noise": EXTRA})})
    assert len(lines) == 10
    first = lines.iloc[1].to_dict()
    assert first == {
        "setting": "digits/small",
        "method": "at",
        "seed": 0,
        "corruption": "contrast",
        "category": "digital",
        "severity": 2,
        "accuracy": 60.0,
        "images": 10,
        "source": "generated",
    }
