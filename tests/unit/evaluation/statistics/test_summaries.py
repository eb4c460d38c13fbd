"""One network's accuracies in a few words, and the mean under corruptions."""

import pytest

from cure.evaluation.statistics.results import AttackResult, CorruptResult
from cure.evaluation.statistics.summaries import attack_summary, corrupted_mean, corrupted_summary

CORRUPTED = CorruptResult(
    images=10,
    source="generated",
    version="1",
    missing={},
    categories={"fog": "weather", "contrast": "digital", "saturate": "digital"},
    extra=["saturate"],
    clean=9,
    correct={"fog": {"1": 8, "5": 2}, "contrast": {"1": 6, "5": 4}, "saturate": {"1": 0, "5": 0}},
)


def test_accuracies_are_of_the_images_that_a_column_looked_at() -> None:
    about = {"label": "", "package": "", "broken_by": {}}
    columns = {"pgd20": about, "aa": about | {"label": "standard"}}
    outcomes = {"clean": "1110", "pgd20": "1100", "aa": "1-0-"}
    result = AttackResult.model_validate(
        {"images": 4, "outcomes": outcomes, "columns": columns, "problems": [], "eps": 0.1, "seed": 0, "batch": 4}
    )
    assert attack_summary(result, ["clean", "aa", "pgd20"]) == "clean 75.0, AA 50.0, PGD-20 50.0"


def test_the_mean_is_over_corruptions_and_severities_and_not_over_the_extra_ones() -> None:
    assert corrupted_mean(CORRUPTED, ["fog"]) == pytest.approx(50)
    assert corrupted_mean(CORRUPTED, ["fog", "saturate"]) == pytest.approx(25)
    assert corrupted_summary(CORRUPTED) == "clean 90.0, corrupted 50.0"
