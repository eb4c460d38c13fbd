"""`cure report` on a folder of made-up results: what it writes, that it writes the same again, and what it refuses."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from cure.cli import report
from cure.errors import UserError
from cure.reporting import build
from cure.settings.check import load
from cure.settings.sections import ReportText


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
    assert "The unit is the method" in table
    assert "| AT | 2 | 3 | 65.00 ± 7.07 | 50.00 ± 0.00 | -15.00 ± 7.07 |" in (reports / "overfitting.md").read_text()


def test_the_best_is_bold_and_what_cannot_be_told_apart_from_it_is_marked(reports: Path) -> None:
    rows = [
        line.split(" | ") for line in (reports / "table.md").read_text().splitlines() if line.startswith("| digits")
    ]
    marks = {row[1]: (row[3].startswith("**"), row[3].endswith("†")) for row in rows}  # PGD-20
    assert marks["Natural"] == (False, False)
    assert sorted([marks["AT"], marks["TRADES"]]) == [(False, True), (True, False)]


def with_one_seed(folder: Path, place: Path) -> Path:
    """The report of the first seed alone."""
    copy = shutil.copytree(folder, place / "one", ignore=shutil.ignore_patterns("reports"))
    text = (copy / "params.yaml").read_text()
    assert "seeds: [0, 1]" in text
    (copy / "params.yaml").write_text(text.replace("seeds: [0, 1]", "seeds: [0]"))
    report(copy)
    return copy / "reports"


def test_one_seed_ranks_no_method_anywhere(folder: Path, tmp_path: Path) -> None:
    one = with_one_seed(folder, tmp_path)
    table = (one / "table.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| digits")]
    assert len(rows) == 3
    assert not any("**" in row or "†" in row for row in rows)
    assert "One seed: each row is a single network" in table
    assert (one / "pairs.md").read_text().startswith("# Pairs of networks")
    assert set(pd.read_csv(one / "pairs.csv")["verdict"]) == {"differs", "not told apart"}
    assert "with one seed" in (one / "ranks.md").read_text()
    assert pd.read_csv(one / "ranks.csv").empty
    assert "With one seed, the tests compare these networks only" in (one / "findings.md").read_text()


def test_several_seeds_rank_methods_with_the_numbers_of_the_table(reports: Path) -> None:
    ranks = pd.read_csv(reports / "ranks.csv")
    lines = pd.read_csv(reports / "table.csv")
    for column in ("clean", "pgd20", "cw20", "aa", "nrr_cw20"):
        found = ranks[ranks["column"] == column].set_index("method")["mean"].to_dict()
        assert found == pytest.approx(lines.groupby("method")[column].mean().to_dict(), abs=0.011)
    assert "from 2 seeds of each method" in (reports / "findings.md").read_text()
    assert "| Method | Mean | 95 % | Rank | 95 % | First |" in (reports / "ranks.md").read_text()


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


LOST = ["results/digits/small/at-s1-attack.json", "curves/digits/small/trades-s0.csv"]


def without(folder: Path, place: Path, lost: list[str]) -> Path:
    copy = shutil.copytree(folder, place / "copy")
    shutil.rmtree(copy / "reports", ignore_errors=True)
    for name in lost:
        (copy / name).unlink()
    return copy


def test_the_stage_refuses_and_names_every_missing_result(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(without(folder, tmp_path, LOST))
    with pytest.raises(UserError) as refused:
        build.build(load(build.READS))
    assert str(refused.value).splitlines() == [
        "2 of 18 results are not there yet; `dvc repro` makes them:",
        *(f"  {name}" for name in LOST),
    ]
    assert not Path("reports").exists()


def cells(reports: Path, method: str) -> list[str]:
    """The row of the table behind its name, without marks."""
    (line,) = [
        line
        for line in (reports / "table.md").read_text().splitlines()
        if line.startswith(f"| digits/small | {method} |")
    ]
    return [cell.strip(" *†") for cell in line.split("|")[3:-1]]


def test_rows_of_which_something_is_missing_have_empty_cells_and_say_so(
    folder: Path, reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = without(folder, tmp_path, LOST)
    (copy / "reports").mkdir()
    costs = "dataset,model,method,tflops,gpu_hours\ndigits,small,at,60,0.62\n"
    (copy / "reports/costs.csv").write_text(costs)
    report(copy)
    assert (
        "2 of 18 results are not there yet, such as results/digits/small/at-s1-attack.json" in capsys.readouterr().out
    )
    assert [cell for cell in cells(copy / "reports", "AT") if cell] == ["not run yet: 1.2 GPU-hours"]  # of two seeds
    assert [cell for cell in cells(copy / "reports", "TRADES") if cell] == ["not run yet"]
    assert cells(copy / "reports", "Natural") == cells(reports, "Natural")
    assert "Not run yet: 2 rows; GPU-hours" in (copy / "reports/table.md").read_text()
    assert list(json.loads((copy / "reports/metrics.json").read_text())["digits/small"]) == ["natural"]
    assert "not run yet: 1.2 GPU-hours" in (copy / "reports/index.html").read_text()


def test_a_grid_of_which_nothing_was_run_has_its_tables(folder: Path, tmp_path: Path) -> None:
    (copy := tmp_path / "copy").mkdir()
    shutil.copy(folder / "params.yaml", copy)
    report(copy)
    first = contents(copy / "reports")
    assert set(first) == {"table.md", "table.csv", "claims.md", "figures/captions.json", "index.html", "metrics.json"}
    assert "no run of this grid is finished yet" in first["figures/captions.json"].decode()
    assert json.loads(first["metrics.json"]) == {}
    assert "No run of this grid is finished yet." in first["table.md"].decode()
    assert all(
        [cell for cell in cells(copy / "reports", name) if cell] == ["not run yet"] for name in ("AT", "Natural")
    )
    report(copy)
    assert contents(copy / "reports") == first


def test_a_report_that_lacks_nothing_is_that_of_the_stage(
    folder: Path, reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = without(folder, tmp_path, [])
    shutil.copytree(reports, copy / "reports")
    monkeypatch.chdir(copy)
    build.build(load(build.READS))
    assert contents(copy / "reports") == contents(reports)


def test_a_list_of_costs_that_is_none_is_refused(folder: Path, tmp_path: Path) -> None:
    (copy := tmp_path / "copy").mkdir()
    shutil.copy(folder / "params.yaml", copy)
    (copy / "reports").mkdir()
    (copy / "reports/costs.csv").write_text("dataset,model,method,tflops,gpu_hours\ndigits,small,at,60,much\n")
    with pytest.raises(UserError, match=r"costs\.csv: cannot be read .* run `make costs` to rewrite it"):
        report(copy)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: not found; name a pipeline folder"):
        report(tmp_path)


def test_a_row_to_compare_with_that_was_removed_is_left_out_of_the_pairs(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("reports"))
    text = (folder / "params.yaml").read_text()
    assert "against: [at]" in text
    (copy / "params.yaml").write_text(text.replace("against: [at]", "against: [mart, at]"))
    report(copy)
    pairs = (copy / "reports/pairs.md").read_text()
    assert "MART" not in pairs
    assert "| TRADES | AT |" in pairs


def test_captions_tell_of_every_figure_in_the_order_of_params(folder: Path, reports: Path) -> None:
    captions = json.loads((reports / "figures/captions.json").read_text())
    assert list(captions) == load(["report"], path=folder / "params.yaml").get("report", ReportText).figures
    assert captions["criticality"]["reason"] == "no RiFT row in this grid"
    told = "2 seeds"
    assert {name for name, said in captions.items() if "file" in said and told not in said["caption"]} == set()
    assert told not in captions["criticality"]["caption"]
    drawn = {f"{name}.png" for name, said in captions.items() if "file" in said}
    assert drawn == {path.name for path in (reports / "figures").glob("*.png")}
