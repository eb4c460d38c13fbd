"""What figures are drawn from, by hand-made results of a grid with RiFT, LAS-AT and a row of neither."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cure import catalogue
from cure.errors import UserError
from cure.reporting import evidence, figures, made, rows
from cure.reporting.results import Results
from tests.support.results import SUITE, attack_result, loaded, run, write

COLUMN = {"label": "", "package": "", "broken_by": {}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for method in ("natural", "at"):
        write(run(method).curve, "epoch,lr,val_clean,val_pgd\n1,0.1,,\n2,0.1,0.9,0.5\n")
    return tmp_path


def rift() -> Results:
    points = [{"clean": 0.8 + i / 1000, "pgd": 0.5} for i in range(11)]
    walk = {"epoch": 1, "a": 0.3, "points": points, "draws": 5, "another": 0.4125, "weaker": 0.03}
    mrc = {"conv1": {"mrc": 2.5, "drop": 0.25}, "linear": {"mrc": 0.5, "drop": 0.125}}
    report = {"module": "linear", "bn": "freeze", "criticality": mrc, "interpolation": {"update": walk, "freeze": walk}}
    report["ascent"] = {"images": 240, "batch": 64, "epochs": 10, "steps": 40, "lr": 1.0, "eps": 0.1}
    write(run("rift").result("revise"), json.dumps(report))
    return loaded(revise_from_robust=["rift"])


def test_modules_come_by_criticality_with_drops_in_points() -> None:
    found = evidence.table("criticality", rift(), SUITE)
    assert found[["module", "mrc", "drop", "chosen"]].to_numpy().tolist() == [
        ["linear", 0.5, 12.5, True],
        ["conv1", 2.5, 25.0, False],
    ]


def test_every_criticality_says_by_what_ascent_on_how_many_images_it_was_found() -> None:
    found = evidence.table("criticality", rift(), SUITE)
    assert (
        found[["images", "batch", "epochs", "steps", "lr", "eps"]].to_numpy().tolist()
        == [[240, 64, 10, 40, 1, 0.1]] * 2
    )


def test_every_point_of_every_way_is_there_and_the_chosen_ones_are_marked() -> None:
    found = evidence.table("interpolation", rift(), SUITE)
    assert len(found) == 2 * 11
    assert found[found["a"] == 0.3]["clean"].tolist() == [80.3, 80.3]
    assert found[found["chosen"]][["variant", "a"]].to_numpy().tolist() == [["update", 0.3], ["freeze", 0.3]]
    assert found[found["exported"]]["variant"].tolist() == ["freeze"]


def test_every_point_says_of_how_many_images_and_draws_it_is_and_how_sure_the_choice() -> None:
    found = evidence.table("interpolation", rift(), SUITE)
    assert found[["images", "draws", "another", "weaker"]].drop_duplicates().to_numpy().tolist() == [[240, 5, 41.2, 3]]


def test_rift_has_no_curve_and_no_one_misses_it() -> None:
    with_rift = rift()
    assert set(rows.curves(with_rift)["method"]) == {"natural", "at"}
    for one in with_rift.runs:
        write(one.result("attack"), "{}")
        write(one.result("corrupt"), "{}")
    assert made.note(with_rift)["devices"] == []


def test_actions_are_the_epochs_of_the_rows_that_choose() -> None:
    header = "epoch,lr,chosen_eps,chosen_step,chosen_steps,val_clean,val_pgd\n"
    write(run("las_at").curve, header + "1,0.1,0.03,0.01,8.5,,\n2,0.1,0.04,0.02,9.5,0.9,0.5\n")
    found = evidence.table("actions", loaded(update=["at", "las_at"]), SUITE)
    assert found["method"].tolist() == ["las_at", "las_at"]
    assert found[["epoch", "chosen_eps", "chosen_steps"]].to_numpy().tolist() == [[1, 0.03, 8.5], [2, 0.04, 9.5]]


def test_a_row_that_chooses_beta_has_it_beside_those_that_do_not() -> None:
    header = "epoch,lr,chosen_eps,chosen_step,chosen_steps,{}val_clean,val_pgd\n"
    write(run("las_at").curve, header.format("") + "1,0.1,0.03,0.01,8.5,0.9,0.5\n")
    write(run("at").curve, header.format("chosen_beta,") + "1,0.1,0.03,0.01,8.5,7.25,0.9,0.5\n")
    found = evidence.table("actions", loaded(update=["at", "las_at"]), SUITE)
    assert found.set_index("method")["chosen_beta"].dropna().to_dict() == {"at": 7.25}


def test_an_analysis_comes_as_one_line_per_cell_with_its_arrays() -> None:
    path = run("at").analysis("masks")
    left(path, {"map": torch.ones(2, 3)})
    run("natural").analyses.mkdir()
    (line,) = evidence.table("masks", loaded(analyse=["natural", "at"]), SUITE).to_dict("records")
    assert (line["method"], line["classes"], line["map"].shape) == ("at", ["a", "b"], (2, 3))


def test_an_analysis_with_axes_comes_as_one_line_per_combination_of_labels() -> None:
    axes = {"layer": ["conv1", "linear"], "share": [0.0, 0.5, 1.0]}
    left(run("at").analysis("toy"), {"size": torch.arange(6).reshape(2, 3), "mean": torch.zeros(2, 3)}, axes)
    found = evidence.analysed("toy", loaded(analyse=["at"]))
    assert found[["layer", "share", "size"]].to_numpy().tolist()[3:] == [
        ["linear", 0.0, 3],
        ["linear", 0.5, 4],
        ["linear", 1.0, 5],
    ]
    assert set(found) == {"layer", "share", "size", "mean", "setting", "method", "seed"}


def left(path: Path, arrays: dict[str, torch.Tensor], axes: dict[str, list[Any]] | None = None) -> None:
    """What the stage analyse leaves."""
    path.parent.mkdir(parents=True)
    facts = json.dumps({"classes": ["a", "b"], "axes": axes or {}})
    save_file(arrays, path, metadata={"cure": facts})


def test_an_analysis_that_was_not_made_is_refused_with_its_path() -> None:
    with pytest.raises(UserError, match=r"at-s0-analyse/masks\.safetensors: does not exist yet"):
        evidence.table("masks", loaded(analyse=["at"]), SUITE)


def attacked(method: str, last: dict[str, str] | None) -> None:
    ends = None if last is None else {"epoch": 2, "outcomes": last}
    about = {"images": 4, "outcomes": {"clean": "1111", "pgd20": "1110"}, "columns": {"pgd20": COLUMN}, "problems": []}
    about |= {"eps": 0.1, "seed": 0, "batch": 4, "epoch": 2, "last": ends}
    write(run(method).result("attack"), json.dumps(about))


def folders(folder: Path) -> figures.Folders:
    return figures.Folders(folder / "figures", folder / "pdf", folder / "data")


def test_curves_come_with_the_outcomes_of_both_ends_on_the_test_split(folder: Path) -> None:
    attacked("natural", None)
    attacked("at", {"clean": "1111", "pgd20": "1010"})
    found = evidence.table("curves", loaded(), SUITE).set_index("method")[["tested", "best_outcome", "last_outcome"]]
    assert found.loc["at"].tolist() == ["pgd20", "1110", "1010"]
    assert found.loc["natural"].isna().all()
    figures.draw(folders(folder), ["curves"], loaded(), SUITE)
    assert "outcome" not in (folder / "data/curves.csv").read_text()


def test_the_ratio_is_that_of_the_column_of_the_tables_nrr() -> None:
    for method in ("natural", "at"):
        write(run(method).result("attack"), attack_result(60))
    found = evidence.table("ratio", loaded(), SUITE)
    assert set(found["column"]) == {SUITE.nrr}
    assert found.set_index("method")["nrr"].to_dict() == {"natural": 40.0, "at": 40.0}  # of 60 and 30 %


def test_with_one_seed_the_figure_of_ranks_is_left_out_and_says_why(folder: Path) -> None:
    for method in ("natural", "at"):
        write(run(method).result("attack"), attack_result(60))
    left_out, _ = figures.draw(folders(folder), ["ranks"], loaded(), SUITE)
    assert left_out == {"ranks": "one seed, and single networks rank no methods; list several under grid.seeds"}


def test_with_several_seeds_ranks_are_drawn_and_say_from_how_many(folder: Path) -> None:
    for seed in (0, 1):
        for method, right in (("natural", 90), ("at", 60)):
            write(run(method, seed).result("attack"), attack_result(right + seed))
    left_out, dark = figures.draw(folders(folder), ["ranks"], loaded(seeds=(0, 1)), SUITE)
    assert (left_out, list(dark)) == ({}, ["ranks"])
    said = json.loads((folder / "figures/captions.json").read_text())["ranks"]
    assert said["caption"].endswith(" From 2 seeds of each method.")
    assert (folder / "data/ranks.csv").read_text().startswith("setting,column,images,method,mean,")


def test_a_figure_without_its_row_is_left_out_with_a_reason_and_no_picture(folder: Path) -> None:
    attacked("natural", None)
    attacked("at", None)
    left_out, _ = figures.draw(
        folders(folder),
        ["criticality", "interpolation", "actions", "masks", "curves"],
        loaded(),
        SUITE,
    )
    assert left_out == {
        "criticality": "no RiFT row in this grid",
        "interpolation": "no RiFT row in this grid",
        "actions": "no LAS-AT row in this grid",
        "masks": "no analysed row has masks",
    }
    assert {path.name for path in (folder / "figures").iterdir()} == {"curves.png", "captions.json"}
    assert {path.name for path in (folder / "pdf").iterdir()} == {"curves.pdf"}
    captions = json.loads((folder / "figures" / "captions.json").read_text())
    assert captions["masks"]["reason"] == left_out["masks"]
    assert (captions["curves"]["file"], captions["curves"]["table"]) == ("curves.png", "curves.csv")
    assert (folder / "data" / "curves.csv").read_text().startswith("epoch,val_clean,val_pgd,setting,")


def test_tables_without_their_row_are_headers() -> None:
    assert evidence.table("criticality", loaded(), SUITE).to_csv(index=False).count("\n") == 1
    assert (
        evidence.table("interpolation", loaded(), SUITE)
        .to_csv(index=False)
        .startswith("setting,method,seed,variant,a,")
    )


def test_no_table_bears_the_name_of_an_analysis() -> None:
    assert set(evidence.TABLES) & set(catalogue.names("analyses")) == set()
