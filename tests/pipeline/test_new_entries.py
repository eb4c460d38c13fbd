"""The promise of docs/add.md about new entries: a file each, their lines of params.yaml, and their stages alone."""

import json

import pytest

from tests.support.clone import (
    ANALYSES,
    ATTACKS,
    ROWS,
    measured,
    ran,
    runs,
)
from tests.support.new_entries import FILES, LINES, added

MADE = ("quickstart/reports/", "quickstart/code/", "quickstart/dvc.lock")


@pytest.fixture(scope="session")
def extended(made, tmp_path_factory):
    """A copy of `made` with a newcomer's method, attack, analysis and figure, reproduced, and what that printed."""
    clone = made.copy(tmp_path_factory.mktemp("extended"))
    for name, text in FILES.items():
        (clone.root / name).write_text(text)
    clone.params.write_text(added(clone.params.read_text()))
    return clone, clone.run("dvc", "repro")


def test_new_entries_are_a_file_each_and_their_lines_of_params(extended):
    clone, _ = extended
    changed = [line[3:] for line in clone.run("git", "status", "--porcelain", "-uall", folder=".").splitlines()]
    assert {name for name in changed if not name.startswith(MADE)} == {*FILES, "quickstart/params.yaml"}
    assert clone.run("git", "diff", "--numstat", "params.yaml").split()[:2] == [str(len(LINES)), "0"]
    assert "params.yaml: " in clone.run("cure", "check", ".")


def test_new_entries_run_their_own_stages_and_the_report_alone(extended):
    _, output = extended
    own = {"toy": "update"}
    assert sorted(ran(output)) == sorted({*runs("", own), *measured(own), *ATTACKS, *ANALYSES, "report"})


def test_a_new_method_has_a_row_and_a_curve(extended):
    clone, _ = extended
    metrics = json.loads((clone.quickstart / "reports/metrics.json").read_text())
    assert list(metrics["digits/small"]) == [*ROWS, "toy"]
    assert ",toy," in (clone.quickstart / "reports/curves.csv").read_text()


def test_a_new_attack_has_a_column_under_the_title_that_it_gives(extended):
    clone, _ = extended
    result = json.loads((clone.quickstart / "results/digits/small/at-s0-attack.json").read_text())
    assert set(result["outcomes"]["spsa4"]) <= {"0", "1"}
    assert result["columns"]["spsa4"]["title"] == "SPSA"
    assert set(result["columns"]["spsa4"]["broken_by"]) == {"spsa"}
    head = [line for line in (clone.quickstart / "reports/table.md").read_text().splitlines() if "| Method |" in line]
    assert "| Clean | SPSA-4 | PGD-20 |" in head[0]
    for page in ("index.html", "attacks.md", "pairs.md"):
        assert "SPSA-4" in (clone.quickstart / "reports" / page).read_text()


def test_a_new_attack_is_counted_and_shown_by_an_evaluation(extended):
    clone, _ = extended
    weights = "weights/digits/small/toy-s0.safetensors"
    assert "SPSA-4" in clone.run("cure", "eval", weights, "--attacks", "spsa4", "--n", "20")
    two = (f"results/digits/small/{row}-s0-attack.json" for row in ("at", "toy"))
    assert "SPSA-4" in clone.run("cure", "compare", *two)


def test_a_new_analysis_has_results_and_a_new_figure_is_drawn_from_them(extended):
    clone, _ = extended
    for row in ("natural", "cure"):
        assert (clone.quickstart / f"results/digits/small/{row}-s0-analyse/entropy.safetensors").exists()
    reports = clone.quickstart / "reports"
    assert (reports / "figures/entropy.png").read_bytes().startswith(b"\x89PNG")
    lines = (reports / "data/entropy.csv").read_text().splitlines()
    assert lines[0].split(",")[:2] == ["view", "setting"]
    assert len(lines) == 1 + 2 * 2  # views and rows
    assert "Entropy of predictions" in (reports / "index.html").read_text()
