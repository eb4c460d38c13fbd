"""What is claimed of pairs of methods, on outcomes made by hand."""

import pytest

from cure.reporting import pairs
from cure.storage.paths import Run

CLEAN = {"a": "1" * 100, "b": "1" * 60 + "0" * 40, "c": "1" * 97 + "0" * 3}  # a beats b; a and c differ by three images


@pytest.fixture
def tested() -> pairs.Tested:
    runs = [Run("digits", "small", method, seed) for method in CLEAN for seed in (0, 1)]
    return {run: {"clean": CLEAN[run.method], "pgd20": "01" * 50} for run in runs}


def test_a_difference_is_claimed_only_where_it_holds(tested: pairs.Tested) -> None:
    found = pairs.compared(tested, ["clean", "pgd20"])
    said = {(line["column"], line["first"], line["second"]): line["verdict"] for line in found.to_dict("records")}
    assert said["clean", "a", "b"] == "a beats b"
    assert said["clean", "b", "c"] == "c beats b"
    assert said["clean", "a", "c"] == ""
    assert {verdict for (column, _, _), verdict in said.items() if column == "pgd20"} == {""}


def test_p_is_adjusted_over_all_pairs_and_columns(tested: pairs.Tested) -> None:
    alone, both = pairs.compared(tested, ["clean"]), pairs.compared(tested, ["clean", "pgd20"])
    first = [found[(found["column"] == "clean") & (found["second"] == "b")].iloc[0] for found in (alone, both)]
    assert first[0]["p"] == first[1]["p"] == pytest.approx(2 * 0.5**40)
    assert [one["adjusted"] for one in first] == pytest.approx([3 * 2 * 0.5**40, 6 * 2 * 0.5**40])


def test_seeds_are_pooled_and_images_are_the_units(tested: pairs.Tested) -> None:
    (line,) = pairs.compared(tested, ["clean"]).query("first == 'a' and second == 'b'").to_dict("records")
    assert (line["images"], line["seeds"]) == (100, 2)
    assert (line["first_accuracy"], line["second_accuracy"], line["difference"]) == pytest.approx((100, 60, 40))
    assert line["low"] < 40 < line["high"]


def test_seen_from_the_other_side_signs_and_ends_are_turned(tested: pairs.Tested) -> None:
    found = pairs.compared(tested, ["clean"])
    forth = found.query("first == 'a' and second == 'b'").iloc[0]
    back = pairs.seen_from(found, "b").query("second == 'a'").iloc[0]
    assert (back["difference"], back["low"], back["high"]) == (-forth["difference"], -forth["high"], -forth["low"])
    assert (back["first_accuracy"], back["second_accuracy"]) == (forth["second_accuracy"], forth["first_accuracy"])


def test_the_best_and_its_equals_are_marked(tested: pairs.Tested) -> None:
    marks = pairs.marks(pairs.compared(tested, ["clean", "pgd20"]))
    assert {key[1:]: mark for key, mark in marks.items()} == {
        ("a", "clean"): "best",
        ("c", "clean"): "level",
        ("a", "pgd20"): "best",
        ("b", "pgd20"): "best",
        ("c", "pgd20"): "best",
    }


def test_the_page_says_who_beats_whom_and_compares_with_the_rows_named(tested: pairs.Tested) -> None:
    lines = pairs.page(pairs.compared(tested, ["clean"]), ["b"], {"clean": "Clean"}).splitlines()
    assert "| a | 100.00 | b |  |" in lines
    assert "| b | 60.00 |  | a, c |" in lines
    assert any(line.startswith("| c | b | +37.00 | +") and line.endswith("| c beats b |") for line in lines)
    assert any(line.startswith("| c | a (best) | -3.00 | -") and line.endswith("| not told apart |") for line in lines)
    assert not any("| a | c |" in line for line in lines)
