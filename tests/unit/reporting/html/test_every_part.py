"""Papers, problems, matrices and images of the page."""

import json

import pandas as pd
import pytest

from cure import catalogue
from cure.evaluation.statistics.results import RunAttackResult
from cure.reporting.html import gallery, matrix, papers, problems
from tests.support.project import ROOT
from tests.support.results import run

PROBLEM = "min_linf leaves 2 of 4 images at eps 0.15, aa 3: aa overestimates robustness, since it missed verified "
PROBLEM += "adversarial images of 1"


def result(**changes: object) -> RunAttackResult:
    """Four images: one wrong, one broken by APGD, one missed by AutoAttack, one correct."""
    column = {"label": "", "package": "", "broken_by": {}}
    minimum = column | {"norm": "linf", "rows": [0, 1, 2, 3], "distances": [0.0, 0.1, 0.14, None]}
    broken = {"apgd-ce": [1], "apgd-t": []}
    columns = {"aa": column | {"label": "standard", "broken_by": broken}, "min_linf": minimum}
    outcomes = {"clean": "0111", "aa": "0011", "min_linf": "0001", "worst": "0001"}
    about = {"images": 4, "outcomes": outcomes, "columns": columns, "problems": [], "eps": 0.15, "seed": 0}
    return RunAttackResult.model_validate(about | {"batch": 4, "epoch": 1, "last": None} | changes)


@pytest.mark.parametrize("method", [name for name in catalogue.names("methods") if name != "natural"])
def test_every_method_names_its_paper(method: str) -> None:
    found = papers.paper(method)
    assert found.url.startswith(("https://arxiv.org/abs/", "https://openreview.net/"))
    assert "http" not in found.citation
    assert found.citation


def test_a_method_without_a_paper_has_no_link() -> None:
    assert papers.paper("natural") == papers.Paper("", "")


@pytest.mark.parametrize(("project", "root"), [("quickstart", ".."), (".", "."), ("pilot", "..")])
def test_a_method_leads_to_its_part_of_the_methods_page(project: str, root: str) -> None:
    address, _, part = papers.section("trades", root).partition("#")
    assert (ROOT / project / "reports" / address).resolve() == ROOT / "docs/methods.md"
    assert part == "trades-pull-the-adversarial-prediction-towards-the-clean-one"


def test_the_software_is_cited_as_in_citation_cff() -> None:
    title = next(line for line in (ROOT / "CITATION.cff").read_text().splitlines() if line.startswith("title"))
    assert title.partition(": ")[2].strip('"') in papers.SOFTWARE


def test_what_autoattack_missed_is_said_in_plain_words() -> None:
    (said,) = problems.plain({run("at"): result(problems=[PROBLEM])})
    assert said.startswith("AutoAttack missed 1 of 4 images that a minimum-norm attack broke (AT, digits/small): ")


def test_another_problem_is_said_as_it_is_with_its_network() -> None:
    assert problems.plain({run("at"): result(problems=["memory ran out"])}) == ["AT, digits/small: memory ran out."]


def test_the_images_tell_what_broke_them_first_and_the_smallest_perturbation() -> None:
    other = result(outcomes={"clean": "1111", "aa": "1011", "min_linf": "1001", "worst": "1001"})
    (wall,) = gallery.gallery({run("at"): result(), run("trades"): other, run("at", 1): result()})
    assert wall.images == [1, 2, 0, 3]
    assert [name for name, _ in wall.lines] == ["AT", "TRADES"]
    kinds = [(one.kind, one.said.partition(";")[0]) for one in wall.lines[0][1]]
    assert kinds == [
        ("broken", "broken first by AA (apgd-ce)"),
        ("broken", "broken first by Min L-inf"),
        ("wrong", "misclassified without an attack"),
        ("correct", "correct under every attack within eps 0.15"),
    ]
    assert [one.text for one in wall.lines[0][1]] == ["0.7", "0.9", "×", "·"]  # noqa: RUF001
    assert wall.lines[0][1][0].said.endswith("smallest perturbation 0.1 (Min L-inf)")


def test_an_image_that_most_networks_misclassify_is_left_out() -> None:
    (wall,) = gallery.gallery({run("at"): result(), run("trades"): result()})
    assert wall.images == [1, 2, 3]


def test_many_images_are_thinned_evenly_from_the_hardest_on() -> None:
    outcomes = {"clean": "1" * 90, "worst": "01" * 45}
    several = result(images=90, outcomes=outcomes, columns={})
    (wall,) = gallery.gallery({run("at"): several})
    assert len(wall.images) == gallery.MOST
    assert [image % 2 for image in wall.images] == [0] * 15 + [1] * 15


def test_a_pair_is_a_win_and_a_loss_or_even_on_both_sides() -> None:
    line = {"setting": "digits/small", "column": "clean", "images": 10, "seeds": 1, "low": 1.0, "high": 9.0, "p": 0.01}
    pairs = [("at", "trades", 50.0, 45.0, 0.01), ("at", "mart", 50.0, 49.0, 0.5), ("trades", "mart", 45.0, 49.0, 0.5)]
    lines = [
        line | {"first": a, "second": b, "first_accuracy": x, "second_accuracy": y, "difference": x - y, "adjusted": p}
        for a, b, x, y, p in pairs
    ]
    (found,) = matrix.matrices(pd.DataFrame(lines), {"clean": "Clean"})
    kinds = {one.method: [cell.kind for cell in one.cells] for one in found.lines}
    assert kinds == {
        "AT": ["self", "even", "win"],
        "MART": ["even", "self", "even"],
        "TRADES": ["loss", "even", "self"],
    }
    assert found.lines[2].cells[0].said == "TRADES against AT: -5.00 points, 95 % -9.00 to -1.00, adjusted p 0.01"
    assert json.dumps([(one.wins, one.losses) for one in found.lines]) == "[[1, 0], [0, 0], [0, 1]]"
