"""Results as files: what is written is read back, to the byte, and what is no result is refused."""

import json
from pathlib import Path

import pytest

from cure.evaluation.statistics.results import (
    AttackResult,
    ColumnResult,
    CorruptResult,
    LayersResult,
    MinimumResult,
    RunAttackResult,
    counts,
    parse_rift,
)
from cure.storage.records import parse, write

ABOUT = {"label": "", "package": "", "broken_by": {"pgd": [1]}}
CUT = {"label": "standard", "package": "pyautoattack 0.2.0", "batch": 2, "broken_by": {}}
MINIMUM = ABOUT | {"norm": "l2", "rows": [0, 1], "distances": [0.1234567, None]}
ATTACK = {
    "images": 2,
    "outcomes": {"clean": "11", "pgd20": "10", "aa": "1-", "worst": "10"},
    "columns": {"pgd20": ABOUT, "aa": CUT, "min_l2": MINIMUM},
    "problems": ["aa ran on 2 images at a time"],
    "eps": 0.1,
    "seed": 0,
    "batch": 4,
    "epoch": 2,
    "last": None,
}
CORRUPT = {
    "images": 2,
    "source": "generated",
    "version": "1",
    "missing": {"frost": "not listed"},
    "categories": {"fog": "weather", "frost": "weather"},
    "extra": [],
    "clean": 2,
    "correct": {"fog": {"1": 2, "5": 0}},
}
LAYERS = {"images": 2, "epochs": 1, "networks": {"u1": {"parts": ["a"], "updated": 0.5, "clean": "11", "pgd": "01"}}}
LAYERS["networks"] |= {"natural": {"parts": [], "updated": 0.0, "clean": "11", "pgd": "00"}}


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (RunAttackResult, ATTACK),
        (RunAttackResult, ATTACK | {"last": {"epoch": 3, "outcomes": {"clean": "10"}}}),
        (CorruptResult, CORRUPT),
        (LayersResult, LAYERS),
    ],
)
def test_a_result_that_is_read_is_written_in_the_same_bytes(kind, document, tmp_path: Path) -> None:
    text = json.dumps(document, indent=1) + "\n"
    write(tmp_path / "result.json", parse(kind, text))
    assert (tmp_path / "result.json").read_text() == text


def test_only_a_column_with_distances_is_one_of_smallest_perturbations() -> None:
    kinds = {name: type(column) for name, column in parse(AttackResult, json.dumps(ATTACK)).columns.items()}
    assert kinds == {"pgd20": ColumnResult, "aa": ColumnResult, "min_l2": MinimumResult}


def test_counts_are_over_the_images_that_a_column_looked_at() -> None:
    assert counts({"clean": "1011", "aa": "10-0"}, "aa") == (1, 3, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps(ATTACK)[:-9],
        json.dumps(ATTACK | {"images": "2"}),
        json.dumps(ATTACK | {"outcomes": {"clean": [1, 1]}}),
        json.dumps(ATTACK | {"columns": {"min_l2": {key: MINIMUM[key] for key in MINIMUM if key != "rows"}}}),
        json.dumps({key: ATTACK[key] for key in ATTACK if key != "last"}),
    ],
)
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the caller names the file)
        parse(RunAttackResult, text)


def test_only_rift_reports_criticalities() -> None:
    assert parse_rift(json.dumps({"exported": "best", "scores": {}})) is None
    with pytest.raises(ValueError, match="module"):
        parse_rift(json.dumps({"criticality": {}}))
