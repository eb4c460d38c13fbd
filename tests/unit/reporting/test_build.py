"""`cure report` on a folder of made-up results: what it writes, that it writes the same again, and what it refuses."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from cure.cli import report
from cure.errors import UserError


def contents(reports: Path) -> dict[str, bytes]:
    return {str(path.relative_to(reports)): path.read_bytes() for path in sorted(reports.rglob("*")) if path.is_file()}


def test_a_second_run_writes_the_same_bytes(folder: Path, reports: Path) -> None:
    before = contents(reports)
    report(folder)
    assert contents(reports) == before


def test_several_seeds_give_mean_and_spread_and_their_number(reports: Path) -> None:
    table = (reports / "table.md").read_text()
    lines = pd.read_csv(reports / "attacks.csv")
    ours = lines[(lines["method"] == "at") & (lines["column"] == "pgd20")]["accuracy"]
    assert f"{ours.mean():.2f} ± {ours.std():.2f}" in table
    assert "mean ± sample standard deviation of 2" in table
    assert "2 seeds" in (reports / "pairs.md").read_text()
    assert "| AT | 2 | 3 | 65.00 ± 7.07 | 50.00 ± 0.00 | -15.00 ± 7.07 |" in (reports / "overfitting.md").read_text()


def test_the_best_is_bold_and_what_cannot_be_told_apart_from_it_is_marked(reports: Path) -> None:
    rows = [
        line.split(" | ") for line in (reports / "table.md").read_text().splitlines() if line.startswith("| digits")
    ]
    marks = {row[1]: (row[3].startswith("**"), row[3].endswith("†")) for row in rows}  # PGD-20
    assert marks["Natural"] == (False, False)
    assert sorted([marks["AT"], marks["TRADES"]]) == [(False, True), (True, False)]


def test_the_table_tells_the_last_epoch_and_how_much_it_differs(folder: Path, reports: Path) -> None:
    head, _, *body = [line for line in (reports / "table.md").read_text().splitlines() if line.startswith("|")]
    place = head.split(" | ").index("PGD-20, last")
    runs = {row[1]: row[place] for row in (line.split(" | ") for line in body)}
    at = [json.loads((folder / f"results/digits/small/at-s{seed}-attack.json").read_text()) for seed in (0, 1)]
    best, last = (
        pd.Series([100 * text.count("1") / len(text) for text in texts])
        for texts in zip(*((one["outcomes"]["pgd20"], one["last"]["outcomes"]["pgd20"]) for one in at), strict=True)
    )
    fall = last - best
    assert runs["AT"] == f"{last.mean():.2f} ± {last.std():.2f} ({fall.mean():+.2f} ± {fall.std():.2f})"
    assert runs["Natural"] == "-"


def test_attacks_says_that_each_seed_has_lines_of_its_own(reports: Path) -> None:
    text = (reports / "attacks.md").read_text()
    assert "Each seed has lines of its own" in text.partition("##")[0]
    assert "| AT | 0 | PGD-20 |" in text
    assert "| AT | 1 | PGD-20 |" in text


def test_the_csv_of_overfitting_has_both_tables_of_its_page(folder: Path, reports: Path) -> None:
    lines = pd.read_csv(reports / "overfitting.csv").set_index(["method", "seed"])
    found = json.loads((folder / "results/digits/small/at-s1-attack.json").read_text())
    best, last = (50 * one["outcomes"]["pgd20"].count("1") / 100 for one in (found, found["last"]))
    columns = [f"test_pgd20_{end}" for end in ("best", "last", "difference")]
    assert lines.loc[("at", 1), columns].tolist() == [best, last, last - best]
    assert lines.loc[("natural", 0), columns[1:]].isna().all()
    assert lines.loc[("at", 1), "difference"] == -20


def test_every_missing_result_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    lost = ["results/digits/small/at-s1-attack.json", "curves/digits/small/trades-s0.csv"]
    for name in lost:
        (copy / name).unlink()
    with pytest.raises(UserError) as refused:
        report(copy)
    assert str(refused.value).splitlines() == [
        "2 of 18 results are not there yet; `dvc repro` makes them:",
        *(f"  {name}" for name in lost),
    ]


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: not found; name a pipeline folder"):
        report(tmp_path)


def test_a_row_to_compare_with_must_be_in_the_grid(folder: Path, tmp_path: Path) -> None:
    text = (folder / "params.yaml").read_text()
    assert "against: [at]" in text
    (tmp_path / "params.yaml").write_text(text.replace("against: [at]", "against: [att]"))
    with pytest.raises(UserError, match=r"report\.against: 'att' is not a method of the grid, did you mean at\?"):
        report(tmp_path)


def test_captions_tell_of_every_figure_in_the_order_of_params(reports: Path) -> None:
    captions = json.loads((reports / "figures/captions.json").read_text())
    assert next(iter(captions)) == "tradeoff"
    assert captions["criticality"]["reason"] == "no RiFT row in this grid"
    told = "Mean of 2 seeds"
    assert {name for name, said in captions.items() if "file" in said and told not in said["caption"]} == set()
    assert told not in captions["criticality"]["caption"]
    drawn = {f"{name}.png" for name, said in captions.items() if "file" in said}
    assert drawn == {path.name for path in (reports / "figures").glob("*.png")}
