import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from cure.core.names import heading
from cure.evaluation.statistics.headings import headings
from cure.evaluation.statistics.results import RunAttackResult
from cure.published.attacks import columns
from cure.published.claims import load
from cure.reporting import attacks, beside, rows, table
from cure.reporting.results import Results, load_results, setting
from cure.settings.base import Settings
from cure.settings.params import read
from cure.settings.sections import AttackSuite, Grid
from cure.storage.paths import Run
from cure.storage.records import parse
from tests.support.project import ROOT

CLAIMS = ROOT / "claims.yaml"
PUBLISHED = load(CLAIMS)
SETTINGS = read(ROOT / "params.yaml")["attack"]["columns"]
COLUMNS = columns({name: SETTINGS[name] for name in ("pgd20", "cw20", "cw100", "aa")}, 8 / 255, 2 / 255)


def suite() -> Settings:
    shown = {"table": ["cw20"], "nrr": "cw20", "last": [], "columns": {"cw20": {}}}
    return AttackSuite(
        images=1, batch=1, seed=0, layout="contiguous", precision="fp32", subset={}, on_request={}, **shown
    )


def means(setting: str) -> pd.DataFrame:
    return pd.DataFrame(
        [{"setting": setting, "method": "cure", "seed": 0, "clean": 12.34, "pgd20": 5.0, "cw20": 4.0, "nrr_cw20": 6.0}]
    )


def ours(setting: str, how: str = "Nothing.", todo: dict[tuple[str, str], str] | None = None) -> beside.Ours:
    return beside.Ours([setting], how, todo or {}, COLUMNS)


def test_ours_and_theirs_stand_in_lines_of_their_own() -> None:
    text = beside.page(
        means("cifar10/resnet18"),
        PUBLISHED,
        {("cifar10/resnet18", "cure"): "3 epochs, CPU"},
        ours("cifar10/resnet18", how="Percent of 9 images; step 2/255."),
    )
    assert "\nOurs: percent of 9 images; step 2/255.\n" in text
    part = next(part for part in text.split("### ") if part.startswith("cure, Table 1\n")).splitlines()
    own = [line for line in part if "| **ours** |" in line]
    theirs = [line for line in part if line.startswith("| CURE | cure, Table 1 |")]
    assert own == ["| CURE | **ours** | 12.34 | 5.00 |  | 4.00 | 6.00 | 3 epochs, CPU |"]
    assert len(theirs) == 1
    assert "86.76 | 54.92§ | 49.69§ | 52.48§ | 65.04§" in theirs[0]
    assert any("PGD-20 with step 0.003" in line for line in part)
    assert "misprinted" in text


def test_every_published_table_of_a_setting_is_there_with_its_own_columns() -> None:
    made = {("cifar10/resnet18", "cure"): "3 epochs, CPU"}
    kinds = [
        [c for c in kind if setting(c) == "cifar10/resnet18"] for kind in (PUBLISHED.claims, PUBLISHED.reproductions)
    ]
    claims_of = [*kinds[0], *kinds[1]]
    only = replace(PUBLISHED, claims=kinds[0], reproductions=kinds[1])
    text = beside.page(means("cifar10/resnet18"), only, made, ours("cifar10/resnet18"))
    assert text.count("### ") == len({(c.paper, c.table) for c in claims_of})
    rows = [
        line for line in text.splitlines() if line.startswith("| ") and "**ours**" not in line and "---" not in line
    ]
    assert len(rows) == len(claims_of) + text.count("### ")
    assert sum(len(c.values) for c in claims_of) == sum(
        bool(run.strip()) for line in rows if "| Method |" not in line for run in line.split("|")[3:-2]
    )


def test_what_others_reproduced_stands_in_tables_of_its_own_and_ours_beneath() -> None:
    made = {("cifar10/resnet18", "at"): "200 epochs, H100"}
    text = beside.page(means("cifar10/resnet18").assign(method="at"), PUBLISHED, made, ours("cifar10/resnet18"))
    part = next(part for part in text.split("### ") if part.startswith("lethesec, README (reproduced)\n")).splitlines()
    at = [line for line in part if line.startswith("| AT |")]
    assert at == [
        "| AT | lethesec, README (reproduced) | 82.57 | 51.28§ | 49.66§ |  |",
        "| AT | **ours** | 12.34 | 5.00 |  | 200 epochs, H100 |",  # cw100, which is nearer, was not measured
    ]
    assert "- § PGD-20, C&W: start clipped to [0, 1]: no, here yes." in part
    papers = [part for part in text.split("### ") if "(reproduced)" not in part.partition("\n")[0]]
    assert "lethesec, README" not in "".join(papers)


def test_a_claim_under_another_attack_than_ours_is_marked_and_one_under_the_same_is_not() -> None:
    def cells(known: dict) -> tuple[list[str], str]:
        rows = beside.Ours(["cifar10/resnet18"], "Nothing.", {}, known)
        lines = means("cifar10/resnet18").assign(pgd20_cure=7.5)
        text = beside.page(lines, PUBLISHED, {("cifar10/resnet18", "cure"): ""}, rows)
        part = next(part for part in text.split("### ") if part.startswith("cure, Table 1\n"))
        both = [line.split(" | ")[2:7] for line in part.splitlines() if line.startswith("| CURE |")]
        return [pair[1] for pair in both], part

    found, said = cells(COLUMNS)
    assert found == ["54.92§", "5.00"]
    assert "- § PGD-20 of CURE: step 0.003, here 2/255; start clipped to [0, 1]: no, here yes.\n" in said
    assert "- § PGD-20, AA, C&W, NRR: the published attack is not known in full.\n" in said
    same = {"attack": "pgd", "eps": "8/255", "step": 0.003, "steps": 20, "start": "uniform", "clip_start": False}
    found, said = cells(COLUMNS | {"pgd20_cure": same})
    assert found == ["54.92", "7.50"]
    assert "PGD-20 of CURE" not in said


def test_papers_that_could_not_be_verified_are_named_where_papers_are_shown() -> None:
    text = beside.page(pd.DataFrame(), PUBLISHED, {}, ours("cifar10/resnet18"))
    assert "- VFD (reconstruction): The abstract is all that was found" in text.partition("could not be verified")[2]
    assert "could not be verified" not in beside.page(pd.DataFrame(), PUBLISHED, {}, ours("digits/small"))


def test_a_setting_that_no_paper_prints_says_so() -> None:
    text = beside.page(
        means("digits/small"),
        PUBLISHED,
        {("digits/small", "cure"): "3 epochs, CPU"},
        ours("digits/small"),
    )
    assert "No paper prints a number for digits/small." in text
    assert "###" not in text


def test_a_row_that_was_not_run_says_what_it_would_cost_and_shows_no_number() -> None:
    todo = {("cifar10/resnet18", "trades"): "not run yet: 1.1 GPU-hours"}
    text = beside.page(pd.DataFrame(), PUBLISHED, {}, ours("cifar10/resnet18", todo=todo))
    lines = [line.split(" | ") for line in text.splitlines() if "| **ours** |" in line]
    assert lines
    assert {(line[0], "".join(line[2:-1]).strip(), line[-1]) for line in lines} == {
        ("| TRADES", "", "not run yet: 1.1 GPU-hours |")
    }


def test_where_papers_have_a_setting_of_ours_every_number_that_they_print_is_there() -> None:
    published = [*PUBLISHED.claims, *PUBLISHED.reproductions]
    text = beside.page(pd.DataFrame(), PUBLISHED, {}, ours("cifar10/resnet18"))
    cells = [cell for line in text.splitlines() if line.startswith("| ") for cell in line.split("|")[3:-2]]
    assert sum(bool(re.match(r" *[+-]?\d", cell)) for cell in cells) == sum(len(one.values) for one in published)
    others = {f"{one.dataset}/{one.model}" for one in published} - {"cifar10/resnet18"}
    assert text.count("Not in the grid of params.yaml.") == len(others)


@pytest.mark.parametrize(
    ("method", "epoch", "told"),
    [("part", 22, "22/25‡"), ("part", 25, "25/25"), ("at", 22, "22/25"), ("arat", 25, "25/25")],
)
def test_an_earlier_epoch_than_the_release_evaluates_is_marked(method: str, epoch: int, told: str) -> None:
    line = means("digits/small").assign(method=method, epoch=epoch, corrupted=1.0)
    attacked = pd.DataFrame(columns=["setting", "method", "column"])
    (row,) = table.rows(line, line, attacked, {}, {("digits/small", method): "25"}, suite())
    assert row.words == [told]


# ---- the page of attacks


TWO = [Run("digits", "small", method, 0) for method in ("natural", "at")]


@pytest.fixture
def results(tmp_path, monkeypatch) -> Results:
    """Two runs: ten images, of which AutoAttack and the smallest perturbations saw five."""
    monkeypatch.chdir(tmp_path)
    about = {"label": "", "package": "", "broken_by": {}}
    found = {"natural": [None] * 5, "at": [0.2, 0.1, 0.3, None, 0.0]}
    for run, problems in zip(TWO, ([], ["min_linf leaves 1 of 5"]), strict=True):
        flags = {"clean": "1111111100", "pgd20": "1111100000", "cw20": "1111000000", "aa": "1-0-1-0-0-"}
        columns = dict.fromkeys(("pgd20", "cw20"), about)
        columns["aa"] = about | {"label": "standard", "package": "pyautoattack 0.2.0"}
        lengths = about | {"norm": "linf", "rows": [0, 2, 4, 6, 8], "distances": found[run.method]}
        said = {"images": 10, "outcomes": flags | {"worst": "1-0-0-0-0-"}, "columns": columns | {"min_linf": lengths}}
        said |= {"problems": problems, "eps": 0.1, "seed": 0, "batch": 10, "epoch": 3, "last": None}
        corrupt = {"images": 10, "source": "generated", "version": "1", "missing": {}, "extra": [], "clean": 8}
        corrupt |= {"categories": {"contrast": "digital"}, "correct": {"contrast": {"1": 5}}}
        for stage, content in (("attack", said), ("corrupt", corrupt)):
            run.result(stage).parent.mkdir(parents=True, exist_ok=True)
            run.result(stage).write_text(json.dumps(content))
    lists = {name: [] for name in Grid.model_fields if name not in ("datasets", "models", "seeds")}
    lists |= {"datasets": ["digits"], "models": ["small"], "seeds": [0], "update": ["at"], "pretrain": ["small"]}
    return load_results(Grid(**lists | {"layers": {"models": [], "variants": [], "groups": []}}))


def test_every_column_has_its_images_its_interval_and_its_ratio(results) -> None:
    lines = attacks.page(results.attacks).splitlines()
    assert "| AT | 0 | PGD-20 | 10 | 50.00 | 23.66 to 76.34 | 61.54 | 27.66 to 78.27 |" in lines
    assert "| AT | 0 | AA (standard) | 5 | 40.00 | 11.76 to 76.93 | 53.33 | 10.27 to 76.28 |" in lines
    assert "| AT | 0 | Worst | 5 | 20.00 | 3.62 to 62.45 | 32.00 | 1.76 to 66.47 |" in lines
    assert "| Natural | 0 | Clean | 10 | 80.00 | 49.02 to 94.33 |  |  |" in lines


def test_every_attack_has_a_ratio_with_its_interval_in_the_table_of_numbers(results) -> None:
    lines = attacks.measured(results.attacks).set_index(["method", "column"])
    for column in ("pgd20", "cw20", "aa", "worst"):
        line = lines.loc["at", column]
        assert 0 <= line["nrr_low"] < line["nrr"] < line["nrr_high"] <= 100
    assert lines.loc["at", "clean"][["nrr", "nrr_low", "nrr_high"]].isna().all()


def test_smallest_perturbations_are_those_of_the_images_that_are_correct_clean(results) -> None:
    lines = attacks.page(results.attacks).splitlines()
    assert "| AT | 0 | Min L-inf | 4 | 75.0 % | 0.1000 | 0.2000 | 0.3000 |" in lines
    curve = attacks.survival(results.attacks)
    half = curve[(curve["method"] == "at") & (curve["surviving"] == 0.5)]
    assert half["radius"].tolist() == [0.2]


def test_problems_are_named_with_their_run(results) -> None:
    assert attacks.problems(results.attacks) == ["digits/small/at-s0: min_linf leaves 1 of 5"]
    assert "- digits/small/at-s0: min_linf leaves 1 of 5" in attacks.page(results.attacks).splitlines()
    assert "- none found" in attacks.page({TWO[0]: results.attacks[TWO[0]]}).splitlines()


def test_the_table_says_which_autoattack_and_on_how_many_images(results) -> None:
    table = suite().model_copy(update={"table": ["pgd20", "aa"]})
    assert attacks.notes(results.attacks, table) == [
        "AA: AutoAttack standard (pyautoattack 0.2.0), on 5 of these images."
    ]


def test_where_autoattacks_differ_each_setting_has_its_note(results) -> None:
    text = TWO[1].result("attack").read_text().replace('"standard"', '"custom"')
    both = {**results.attacks, Run("svhn", "small", "at", 0): parse(RunAttackResult, text)}
    said = attacks.notes(both, suite().model_copy(update={"table": ["aa"]}))
    assert [line.partition(" (")[0] for line in said] == [
        "AA on digits/small: AutoAttack standard",
        "AA on svhn/small: AutoAttack custom",
    ]


def test_metrics_are_clean_accuracy_the_tables_columns_and_its_nrr(results) -> None:
    table = suite().model_copy(update={"table": ["pgd20", "cw20", "aa"]})
    means = rows.over_seeds(rows.measured(results), results.grid)
    natural, found = rows.metrics(means, table)["digits/small"].values()
    assert list(natural) == ["clean", "pgd20", "aa", "nrr"]
    assert found == {"clean": 80.0, "pgd20": 50.0, "aa": 40.0, "nrr": 53.33}


def test_metrics_hold_no_infinity(results) -> None:
    table = suite().model_copy(update={"table": ["median_min_linf"]})
    means = rows.over_seeds(rows.measured(results), results.grid)
    natural, found = rows.metrics(means, table)["digits/small"].values()
    assert set(found) - set(natural) == {"median_min_linf"}  # nothing was found, so the median is infinite


def test_the_lines_of_the_table_hold_every_column(results) -> None:
    (found,) = rows.measured(results).query("method == 'at'").to_dict("records")
    wanted = {"clean": 80.0, "pgd20": 50.0, "cw20": 40.0, "aa": 40.0, "worst": 20.0, "median_min_linf": 20.0}
    assert wanted.items() <= found.items()
    assert {name: round(found[name], 2) for name in ("nrr_pgd20", "nrr_cw20", "nrr_aa")} == {
        "nrr_pgd20": 61.54,
        "nrr_cw20": 53.33,
        "nrr_aa": 53.33,
    }


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ("pgd20", "PGD-20"),
        ("cw100", "C&W-100"),
        ("pgd20_trades", "PGD-20 TRADES"),
        ("fgsm", "FGSM"),
        ("aa", "AA"),
        ("min_l2", "Min L2"),
        ("min_linf", "Min L-inf"),
        ("nrr_cw20", "NRR"),
        ("clean", "Clean"),
        ("cka", "CKA"),
        ("layers_curves", "Layers curves"),
    ],
)
def test_headings_are_the_fields_own_words(column, shown) -> None:
    assert heading(column) == shown


@pytest.mark.parametrize(
    ("column", "shown"),
    [("rays100", "RayS-100"), ("rays", "RayS"), ("rays100_trades", "RayS-100 TRADES"), ("nrr_rays100", "NRR")],
)
def test_a_title_spells_the_first_word(column, shown) -> None:
    assert heading(column, "RayS") == shown


def test_a_table_has_the_titles_that_results_recorded(results) -> None:
    whole = next(iter(results.attacks.values()))
    titled = whole.columns["pgd20"].model_copy(update={"title": "RayS"})
    other = whole.model_copy(update={"columns": whole.columns | {"pgd20": titled}})
    shown = headings([whole, other])
    assert [shown(name) for name in ("clean", "pgd20", "cw20", "worst")] == ["Clean", "RayS-20", "C&W-20", "Worst"]
    assert table.head(suite(), shown)[2:4] == ["Clean", "C&W-20"]
