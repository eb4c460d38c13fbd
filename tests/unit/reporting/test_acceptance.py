"""Acceptance windows: which rows are judged, by which column, and what is said of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cure.published.attacks import columns
from cure.published.claims import load
from cure.reporting import acceptance, findings
from cure.reporting.results import Results, load_results
from cure.settings.params import read
from cure.settings.sections import Grid
from cure.storage.paths import Run
from tests.support.project import ROOT
from tests.support.results import EMPTY, NO_STUDY, write

PUBLISHED = load(ROOT / "claims.yaml")
COLUMNS = columns(read(ROOT / "params.yaml")["attack"]["columns"], 8 / 255, 2 / 255)
IMAGES = 10_000
SCALE = {"at": 200, "at_ema": 200, "trades": 76, "mart": 120, "awp": 200}
Rows = dict[str, dict[str, float]]


def correct(percent: float, images: int = IMAGES) -> str:
    hits = round(percent * images / 100)
    return "1" * hits + "0" * (images - hits)


def result(row: dict[str, float], images: int, epoch: int) -> str:
    outcomes = {name: correct(row[name], images) for name in ("clean", "pgd20", "aa") if name in row}
    about = {"label": "", "package": "", "broken_by": {}}
    told = {name: about for name in outcomes if name != "clean"}
    body = {"images": images, "outcomes": outcomes | {"worst": outcomes["aa"]}, "columns": told, "problems": []}
    return json.dumps(body | {"eps": 8 / 255, "seed": 0, "batch": 500, "epoch": epoch, "last": None})


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Results]:
    """Rows of ResNet-18 on CIFAR-10 with these accuracies; `changes` for what is not at paper scale."""
    monkeypatch.chdir(tmp_path)

    def make(rows: Rows, **changes: Any) -> Results:
        for method, row in rows.items():
            run = Run(changes.get("dataset", "cifar10"), changes.get("model", "resnet18"), method, 0)
            trained = changes.get("epochs", SCALE[method])
            write(run.result("attack"), result(row, changes.get("images", IMAGES), changes.get("epoch", 60)))
            write(run.result("corrupt"), "{}")
            facts = {"device": "H100", "torch": "2", "epochs": trained}
            write(run.provenance("update"), json.dumps(facts))
            curve = changes.get("curve", {"val_pgd": {60: 0.5}})
            frame = pd.DataFrame({"epoch": range(1, trained + 1), "val_clean": 0.8})
            for name, marks in curve.items():
                frame[name] = [marks.get(epoch, 0.1) for epoch in frame["epoch"]]
            write(run.curve, frame.to_csv(index=False))
        listed = {key: list[str]() for key in EMPTY} | {"update": [*rows]}
        table = {"datasets": [changes.get("dataset", "cifar10")], "models": [changes.get("model", "resnet18")]}
        return load_results(Grid(**table, seeds=[0], pretrain=table["models"], **listed, layers=NO_STUDY), whole=False)

    return make


def told(results: Results, known: dict[str, dict[str, Any]] = COLUMNS) -> dict[str, str]:
    lines = acceptance.table(PUBLISHED, results, known)
    assert list(lines.columns) == findings.COLUMNS
    return dict(zip(lines["said"], lines["agrees"], strict=True))


GOOD = {"clean": 82.5, "pgd20": 51.9, "aa": 48.3}


def test_a_row_inside_its_window_is_accepted(results) -> None:
    assert told(results({"at": GOOD})) == {
        "AT: Clean from 81 to 83.5": "yes",
        "AT: PGD-20 from 51 to 53": "yes",
        "AT: AA from 47.3 to 48.7": "yes",
    }


def test_outside_it_is_no_where_not_even_its_interval_reaches_the_window(results) -> None:
    found = told(results({"at": GOOD | {"pgd20": 50.5, "aa": 44.6}}))
    assert found["AT: PGD-20 from 51 to 53"] == "not told apart"  # Wilson: 49.5 to 51.5
    assert found["AT: AA from 47.3 to 48.7"] == "no"


def test_our_number_stands_there_with_its_interval_and_where_the_window_comes_from(results) -> None:
    line = acceptance.table(PUBLISHED, results({"at": GOOD}), COLUMNS).iloc[2]
    assert line["ours"] == "48.30 (95 %: 47.32 to 49.28)"
    assert line["setting"] == "cifar10/resnet18"
    assert line["source"] == "Acceptance: LetheSec, MAIR and Rice's log"
    assert "| 48.30 (95 %: 47.32 to 49.28) | yes |" in findings.page(
        acceptance.table(PUBLISHED, results({"at": GOOD}), COLUMNS), 1
    )


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "cifar100"},
        {"model": "wrn_34_10"},
        {"images": 1000},
        {"epochs": 40, "epoch": 20},
        {"epoch": 200},  # the last one: robust overfitting is not judged by the window of a best epoch
    ],
    ids=lambda change: next(iter(change)) + str(next(iter(change.values()))),
)
def test_only_a_row_of_resnet18_on_cifar10_at_paper_scale_is_judged(results, change) -> None:
    assert told(results({"at": GOOD}, **change)) == {}


def test_mart_must_lie_below_trades_by_a_paired_test(results) -> None:
    said = "MART: AA below that of TRADES"
    trades, mart = {"clean": 82, "pgd20": 52.5, "aa": 49.0}, {"clean": 79, "pgd20": 54.5, "aa": 47.2}
    assert told(results({"trades": trades, "mart": mart}, epoch=60))[said] == "yes"
    assert told(results({"trades": trades | {"aa": 45.0}, "mart": mart}, epoch=60))[said] == "no"
    assert told(results({"trades": trades | {"aa": 47.2}, "mart": mart}, epoch=60))[said] == "not told apart"
    alone = acceptance.table(PUBLISHED, results({"mart": mart}), COLUMNS).set_index("said").loc[said]
    assert (alone["ours"], alone["agrees"]) == ("no row TRADES", "not measured")


def test_a_window_of_one_preset_names_it(results) -> None:
    assert told(results({"awp": GOOD | {"aa": 50.4}})) == {"AT-AWP: AA from 49.8 to 51": "yes"}


def test_another_attack_than_that_of_the_window_is_not_measured(results) -> None:
    lines = acceptance.table(PUBLISHED, results({"at": GOOD}), COLUMNS | {"aa": COLUMNS["aa"] | {"iterations": 10}})
    line = lines.set_index("said").loc["AT: AA from 47.3 to 48.7"]
    assert (line["ours"], line["agrees"]) == ("another attack: iterations 100, here 10", "not measured")


def test_a_column_that_looked_at_fewer_images_is_not_measured(results) -> None:
    found = results({"at": GOOD})
    path = Run("cifar10", "resnet18", "at", 0).result("attack")
    body = json.loads(path.read_text())
    body["outcomes"]["aa"] = body["outcomes"]["aa"][:-1] + "-"
    body["outcomes"]["worst"] = body["outcomes"]["aa"]
    path.write_text(json.dumps(body))
    line = acceptance.table(PUBLISHED, found, COLUMNS).set_index("said").loc["AT: AA from 47.3 to 48.7"]
    assert (line["ours"], line["agrees"]) == ("AA was not measured on all images", "not measured")


AVERAGED = {"val_pgd": {55: 0.5}, "val_average_pgd": {60: 0.55}}


@pytest.mark.parametrize(("method", "name"), [("at", "AT"), ("at_ema", "AT-EMA")])
def test_an_average_of_the_weights_has_a_window_of_its_own(results, method: str, name: str) -> None:
    row = {method: {"clean": 82.4, "pgd20": 54.3, "aa": 50.5}}
    assert told(results(row, curve=AVERAGED)) == {
        f"{name}, weights averaged: Clean from 80.77 to 83.95": "yes",
        f"{name}, weights averaged: PGD-20 from 53.3 to 55.25": "yes",
        f"{name}, weights averaged: AA from 49.75 to 51.23": "yes",
    }
    assert ("AT: AA from 47.3 to 48.7" in told(results(row, curve=AVERAGED, epoch=55))) == (method == "at")


def test_where_the_epoch_does_not_tell_average_from_student_neither_window_judges(results) -> None:
    both = {"val_pgd": {60: 0.5}, "val_average_pgd": {60: 0.55}}
    assert told(results({"at": GOOD}, curve=both)) == {}


def test_several_seeds_are_judged_by_their_mean(results) -> None:
    one = results({"at": GOOD})
    two = Run("cifar10", "resnet18", "at", 1)
    first = Run("cifar10", "resnet18", "at", 0)
    for path in (Run.curve.fget, lambda run: run.result("corrupt"), lambda run: run.provenance("update")):
        write(path(two), path(first).read_text())
    write(two.result("attack"), result(GOOD | {"aa": 49.3}, IMAGES, 60))
    several = load_results(one.grid.model_copy(update={"seeds": [0, 1]}), whole=False)
    line = acceptance.table(PUBLISHED, several, COLUMNS).set_index("said").loc["AT: AA from 47.3 to 48.7"]
    assert (line["ours"].split(" (")[0], line["agrees"]) == ("48.80", "not told apart")
    low, high = (float(end) for end in line["ours"].split(": ")[1].rstrip(")").split(" to "))
    assert high - low > 3  # that of the images alone is 1.96 wide; the two training runs lie a point apart
