"""What is claimed of pairs of methods, and of pairs of networks, on outcomes made by hand."""

import numpy as np
import pandas as pd
import pytest

from cure.evaluation.statistics.two_level import accuracies
from cure.reporting.comparison import pairs
from cure.reporting.comparison.samples import Sampled, Tested, sampled
from tests.support.results import outcomes_of

CLEAN = {"a": [100, 100], "b": [60, 60], "c": [97, 97]}  # a beats b; a and c differ by three images
STEADY, MOVED = {"a": [70, 70, 70], "b": [60, 60, 60]}, {"a": [70, 80, 60], "b": [60, 50, 70]}


def both(right: dict[str, list[int]]) -> tuple[Tested, Sampled]:
    tested = outcomes_of(right)
    return tested, sampled(tested, ["clean", "pgd20"], "pgd20", {})


def compared(right: dict[str, list[int]]) -> pd.DataFrame:
    tested, methods = both(right)
    return pairs.compared(tested, ["clean", "pgd20"], methods)


def verdicts(found: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    return {(line["column"], line["first"], line["second"]): line["verdict"] for line in found.to_dict("records")}


def test_a_method_beats_another_only_where_it_holds_and_nrr_is_a_column() -> None:
    said = verdicts(compared(CLEAN))
    assert said["clean", "a", "b"] == "a beats b"
    assert said["clean", "b", "c"] == "c beats b"
    assert said["clean", "a", "c"] == "not told apart"
    assert {verdict for (column, _, _), verdict in said.items() if column == "pgd20"} == {"not told apart"}
    assert list(dict.fromkeys(column for column, _, _ in said)) == ["clean", "pgd20", "nrr_pgd20"]


def test_the_same_mean_difference_is_no_claim_where_training_again_moves_it() -> None:
    found = [compared(right).query("column == 'clean'").iloc[0] for right in (STEADY, MOVED)]
    assert found[0]["difference"] == found[1]["difference"] == pytest.approx(10)
    assert found[0]["p"] < 0.01 < 0.2 < found[1]["p"]
    assert found[0]["degrees"] > 50 > 10 > found[1]["degrees"]
    assert found[0]["detectable"] < found[1]["detectable"]


def test_numbers_are_those_of_the_two_level_model_in_points() -> None:
    (line,) = compared(MOVED).query("column == 'clean'").to_dict("records")
    texts = {name: ["1" * n + "0" * (100 - n) for n in counts] for name, counts in MOVED.items()}
    expected = accuracies(texts).difference("a", "b")
    assert (line["images"], line["seeds"]) == (100, 3)
    assert (line["first_accuracy"], line["second_accuracy"]) == pytest.approx((70, 60))
    assert (line["low"], line["high"]) == pytest.approx([100 * end for end in expected.interval()])
    assert line["detectable"] == pytest.approx(100 * expected.detectable(0.05 / 3))  # three columns, one pair each


def test_p_is_adjusted_over_all_pairs_and_columns() -> None:
    found = compared(CLEAN)
    smallest = found["p"].idxmin()
    assert len(found) == 9
    assert found["adjusted"][smallest] == pytest.approx(9 * found["p"][smallest])


def test_networks_of_one_seed_differ_and_beat_nothing() -> None:
    found = compared({name: counts[:1] for name, counts in CLEAN.items()})
    said = verdicts(found)
    assert said["clean", "a", "b"] == said["clean", "b", "c"] == "differs"
    assert set(said.values()) == {"differs", "not told apart"}
    line = found.iloc[0]
    assert (line["images"], line["seeds"], line["difference"]) == (100, 1, 40)
    assert line["p"] == pytest.approx(2 * 0.5**40)  # McNemar's
    assert line["adjusted"] == pytest.approx(6 * 2 * 0.5**40)
    assert "detectable" not in found


def test_seen_from_the_other_side_signs_and_ends_are_turned() -> None:
    found = compared(CLEAN).query("column == 'clean'")
    forth = found.query("first == 'a' and second == 'b'").iloc[0]
    back = pairs.seen_from(found, "b").query("second == 'a'").iloc[0]
    assert (back["difference"], back["low"], back["high"]) == (-forth["difference"], -forth["high"], -forth["low"])
    assert (back["first_accuracy"], back["second_accuracy"]) == (forth["second_accuracy"], forth["first_accuracy"])


def test_the_best_method_and_its_equals_are_marked_and_no_network_is() -> None:
    marks = pairs.marks(compared(CLEAN))
    assert {key[1:]: mark for key, mark in marks.items() if key[2] != "nrr_pgd20"} == {
        ("a", "clean"): "best",
        ("c", "clean"): "level",
        ("a", "pgd20"): "best",
        ("b", "pgd20"): "best",
        ("c", "pgd20"): "best",
    }
    assert marks["digits/small", "a", "nrr_pgd20"] == "best"
    assert pairs.marks(compared({name: counts[:1] for name, counts in CLEAN.items()})) == {}


def test_pairs_csv_is_rounded() -> None:
    line = pairs.rounded(compared(MOVED)).iloc[0]
    assert line["p"] == f"{float(line['p']):.3g}"
    assert np.round(line["detectable"], 2) == line["detectable"]
    assert np.round(line["degrees"], 1) == line["degrees"]
