"""claims.yaml says what others published: nothing lost, no slip of typing, and every misprint is one."""

import re
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from cure.errors import UserError
from cure.evaluation.statistics.intervals import nrr
from cure.published.claims import load
from tests.support.project import ROOT

TEXT = (ROOT / "claims.yaml").read_text(encoding="utf-8")
PUBLISHED = load(ROOT / "claims.yaml")
CLAIMS = PUBLISHED.claims
BY = {(c.paper, c.table, c.dataset, c.model, c.method): c for c in CLAIMS}
OURS = {"at", "trades", "mart", "awp", "fat", "st_at", "act", "ard", "iad", "las_at", "cure", "rift", "arat"}
OURS |= {"hat", "lbgat", "ikl_at"}
OTHERS = {"kd", "te", "idbh", "arrest", "score", "acat"}
VARIANT = r"(cure|rift|arat|hat|lbgat|ikl_at)_.+|(trades|mart|awp|score)_rift"
ROUNDING = 1e-9


def name(claim):
    return f"{claim.paper}-{claim.table}-{claim.dataset}-{claim.model}-{claim.method}"


def whole(claim):
    """A row with what its table prints again: Table 8 of CURE adds columns to Table 1."""
    if (claim.paper, claim.table) != ("cure", "Table 8"):
        return claim.values
    again = BY["cure", "Table 1", claim.dataset, claim.model, claim.method].values
    return {"clean": again["clean"], "aa": again["aa"], **claim.values}


def printing(*measures):
    """Every claim with one of these measures, as parameters of a test."""
    return [pytest.param(c, m, id=f"{name(c)}-{m}") for c in CLAIMS for m in measures if m in c.values]


def test_every_row_of_every_table_is_there():
    assert Counter((c.paper, c.table) for c in CLAIMS) == {
        ("cure", "Table 1"): 10 + 10,
        ("cure", "Table 2"): 7 + 6,
        ("cure", "Table 3"): 7 + 6,
        ("cure", "Table 4"): 2 + 6,
        ("cure", "Table 5"): 3 + 3,
        ("cure", "Table 6"): 3 + 3,
        ("cure", "Table 7"): 4,
        ("cure", "Table 8"): 8 + 8,
        ("cure", "Table 10"): 5,
        ("cure", "rebuttal"): 2,
        ("rift", "Table 1"): 9 * 2 + 3,  # with the mean gain on each data set
        ("rift", "Table 2"): 2 * 4 * 2,
        ("rift", "Table 3"): 4,
        ("rift", "Table 4"): 4,
        ("rift", "MRC"): 3,
        ("arat", "Table 3"): 7 + 6 + 7 + 7,
        ("hat", "README, without additional data"): 3,
        ("hat", "README, with additional data"): 2 + 1,
        ("lbgat", "README"): 1 + 2,
        ("ikl", "README, basic data preprocessing"): 4 + 6,
    }


def test_as_many_cells_as_are_printed():
    printed = Counter(c.paper for c in CLAIMS for _ in c.values)
    assert printed == {"cure": 354, "rift": 167, "arat": 81, "hat": 12, "lbgat": 6, "ikl": 20}


@pytest.mark.parametrize(
    ("at", "measure", "expected"),
    [
        ("cure/Table 1/cifar10/wrn_34_10/cure", "pgd20", 58.28),
        ("cure/Table 1/cifar10/wrn_34_10/at", "aa", 44.04),
        ("cure/Table 1/cifar10/resnet18/st_at", "cw", 51.43),
        ("cure/Table 1/cifar10/resnet18/cure", "nrr", 65.04),
        ("cure/Table 2/cifar100/resnet18/fat", "pgd100", 17.98),
        ("cure/Table 2/svhn/resnet18/cure", "pgd100", 58.73),
        ("cure/Table 3/cifar10/preact_resnet18/at", "aa_delta", -5.75),
        ("cure/Table 3/cifar10/wrn_34_10/idbh", "aa_last", 54.01),
        ("cure/Table 4/cifar100/resnet18/cure_eff", "aa", 24.78),
        ("cure/Table 5/cifar10/resnet18/at", "pgd20", 43.92),
        ("cure/Table 6/cifar10/resnet101/at", "nrr", 46.64),
        ("cure/Table 7/cifar10/resnet18/cure_revision_only", "cw", 50.96),
        ("cure/Table 8/cifar10/wrn_34_10/las_at", "sum", 138.79),
        ("cure/Table 10/cifar10/resnet18/cure_alpha_0.5", "clean", 88.52),
        ("cure/rebuttal/cifar10/resnet18/cure_revision", "pgd20", 50.47),
        ("rift/Table 1/tiny_imagenet/wrn_34_10/rift", "ood", 33.86),
        ("rift/Table 1/cifar100/mean/rift", "clean_gain", 2.02),
        ("rift/Table 2/cifar100/resnet18/score_rift", "pgd10", 29.50),
        ("rift/Table 3/cifar10/resnet18/rift_most_critical", "pgd10", 52.48),
        ("rift/MRC/cifar10/resnet18/layer4.1.conv1", "mrc", 12.94),
        ("arat/Table 3/cifar100/wrn_34_10/arat", "aa", 24.18),
        ("arat/Table 3/cifar10/resnet18/lbgat", "sum", 133.86),
        ("hat/README, without additional data/cifar10/resnet18/hat", "aa", 49.08),
        ("hat/README, with additional data/cifar10/wrn_34_10/hat_real", "aa", 62.83),
        ("lbgat/README/cifar10/wrn_34_10/lbgat", "clean", 88.22),
        ("ikl/README, basic data preprocessing/cifar10/wrn_34_10/ikl_at", "aa", 57.13),
    ],
)
def test_a_number_of_each_table(at, measure, expected):
    assert BY[tuple(at.split("/"))].values[measure] == expected


def test_deviations_stand_where_they_are_printed():
    assert BY["arat", "Table 3", "cifar10", "resnet18", "arat"].deviations == {"clean": 0.19, "aa": 0.47, "sum": 0.33}
    assert Counter((c.paper, c.method) for c in CLAIMS if c.deviations) == {
        ("arat", method): 4 for method in ("lbgat", "arat", "arat_swa")
    }


def test_misprints_are_the_known_ones():
    assert {name(c): c.misprinted for c in CLAIMS if c.misprinted} == {
        "cure-Table 1-cifar10-resnet18-cure": {"nrr": 65.40},
        "cure-Table 2-svhn-resnet18-mart": {"nrr": 62.93},
        "cure-Table 4-cifar10-resnet18-cure": {"nrr": 65.40},
        "cure-Table 5-cifar10-resnet18-cure": {"nrr": 65.40},
        "cure-Table 6-cifar10-resnet101-at": {"nrr": 46.46},
        "cure-Table 8-cifar10-wrn_34_10-las_at": {"sum": 138.82},
    }


@pytest.mark.parametrize(("claim", "measure"), printing("nrr", "nrr_aa"))
def test_a_printed_ratio_is_that_of_its_row_or_a_named_misprint(claim, measure):
    row = whole(claim)
    recomputed = nrr(row["clean"], row["cw" if measure == "nrr" else "aa"])
    assert (abs(row[measure] - recomputed) > 0.015) == (measure in claim.misprinted)
    assert claim.misprinted.get(measure, recomputed) == pytest.approx(recomputed, abs=0.005)


@pytest.mark.parametrize(("claim", "measure"), printing("sum"))
def test_a_printed_sum_is_that_of_its_row_or_a_named_misprint(claim, measure):
    row = whole(claim)
    recomputed = row["clean"] + row["aa"]
    assert (abs(row["sum"] - recomputed) > 0.01 + ROUNDING) == ("sum" in claim.misprinted)
    assert claim.misprinted.get("sum", recomputed) == pytest.approx(recomputed, abs=0.005)


@pytest.mark.parametrize(("claim", "measure"), printing("clean_delta", "aa_delta"))
def test_a_printed_delta_is_last_minus_best(claim, measure):
    best, last = (claim.values[measure.replace("delta", which)] for which in ("best", "last"))
    assert claim.values[measure] == pytest.approx(last - best, abs=0.01 + ROUNDING)  # taken before rounding


@pytest.mark.parametrize(("claim", "measure"), printing("clean_gain", "ood_gain", "pgd10_gain"))
def test_a_printed_gain_is_that_over_at(claim, measure):
    models = ("resnet18", "resnet34", "wrn_34_10") if claim.model == "mean" else (claim.model,)
    plain = measure.removesuffix("_gain")
    before, after = (
        sum(BY["rift", "Table 1", claim.dataset, model, method].values[plain] for model in models) / len(models)
        for method in ("at", "rift")
    )
    assert claim.values[measure] == pytest.approx(after - before, abs=0.01 + ROUNDING)  # some means are cut off


def test_a_cell_that_is_printed_again_is_the_same_but_for_two():
    printed = defaultdict(set)
    for claim in CLAIMS:
        if (claim.paper, claim.table) == ("cure", "Table 5") and claim.method != "cure":
            continue  # other networks: these baselines start from the natural one
        for measure, value in claim.values.items():
            printed[claim.paper, claim.dataset, claim.model, claim.method, measure].add(value)
    assert {key: values for key, values in printed.items() if len(values) > 1} == {
        ("cure", "cifar10", "resnet18", "cure", "pgd20"): {54.92, 54.90},
        ("cure", "cifar10", "resnet18", "cure", "nrr_aa"): {63.18, 63.19},
    }


def test_methods_are_called_by_the_keys_of_the_project():
    methods = {c.method for c in CLAIMS if c.table != "MRC"}  # rows of that table are modules of a network
    plain = {method for method in methods if not re.fullmatch(VARIANT, method)}
    assert plain == OURS | OTHERS


def test_a_variant_is_explained():
    by_setting = defaultdict(set)
    for claim in CLAIMS:
        by_setting[claim.paper, claim.table, claim.setting].add(claim.method)
    variants = [methods for methods in by_setting.values() if any(re.fullmatch(VARIANT, m) for m in methods)]
    assert [methods for methods in variants if len(methods) > 1] == []


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("cure/Table 1/cifar10/wrn_34_10/at", "AA 44.04"),
        ("cure/Table 1/cifar10/wrn_34_10/fat", "stitched"),
        ("cure/Table 1/cifar10/wrn_34_10/las_at", "hybrid"),
        ("cure/Table 1/cifar10/wrn_34_10/act", "WRN-28-10"),
        ("cure/Table 1/cifar10/resnet18/at", "AA 44.63"),
        ("cure/Table 1/cifar10/resnet18/at", "48.67 (MAIR), probably of torchattacks' AutoAttack"),
        ("cure/Table 1/cifar10/wrn_34_10/act", "eps 0.031 with step 0.003"),
        ("cure/Table 1/cifar10/resnet18/act", "eps 0.031 with step 0.003"),
        ("cure/Table 1/cifar10/wrn_34_10/st_at", "no script that trains it"),
        ("cure/Table 8/cifar10/wrn_34_10/st_at", "no script that trains it"),
        ("cure/Table 1/cifar10/resnet18/fat", "C&W is no target"),
        ("cure/Table 1/cifar10/resnet18/iad", "TRADES network"),
        ("cure/Table 1/cifar10/resnet18/mart", "Copied"),
        ("cure/Table 1/cifar10/resnet18/cure", "nrr is misprinted, the rest of its row gives 65.40"),
        ("cure/Table 3/cifar10/preact_resnet18/at", "IDBH"),
        ("cure/Table 3/cifar10/wrn_34_10/trades", "eps 0.031"),
        ("cure/Table 4/cifar100/resnet18/fat", "wrong column"),
        ("cure/Table 6/cifar10/resnet50/cure", "ImageNet stem"),
        ("cure/Table 7/cifar10/resnet18/cure_neither", "Copied"),
        ("cure/Table 8/cifar10/wrn_34_10/las_at", "sum is misprinted, the rest of its row gives 138.82"),
        ("rift/Table 1/cifar10/resnet18/rift", "test set"),
        ("arat/Table 3/cifar10/resnet18/at", "last-epoch"),
        ("arat/Table 3/cifar10/wrn_34_10/arrest", "Quoted"),
        ("hat/README, with additional data/cifar10/preact_resnet18/hat_generated", "more data than ours"),
        ("ikl/README, basic data preprocessing/cifar10/wrn_34_10/ikl_at", "ends at 57.09"),
        ("ikl/README, basic data preprocessing/cifar10/wrn_34_10/las_at", "Copied"),
        ("ikl/README, basic data preprocessing/cifar100/wrn_34_10/lbgat", "stitched"),
        ("ikl/README, basic data preprocessing/cifar100/wrn_34_10/las_at", "64.89 clean"),
    ],
)
def test_a_doubtful_cell_says_so(at, words):
    assert words in BY[tuple(at.split("/"))].caveat


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("cure/Table 1/cifar10/resnet18/cure", "AutoAttack, whose version is not stated and of which the release"),
        ("cure/Table 3/cifar10/resnet18/cure".replace("resnet18", "preact_resnet18"), "version not stated"),
        ("arat/Table 3/cifar10/resnet18/arat", "AutoAttack of torchattacks 3.5.1 by the released code, whose 10 steps"),
        ("rift/Table 1/cifar10/resnet18/rift", "2/225 in the code"),
    ],
)
def test_what_is_wrong_with_an_attack_is_said_where_it_is_described(at, words):
    assert words in BY[tuple(at.split("/"))].setting


def test_the_attack_of_a_copied_row_is_not_known_and_that_of_the_authors_row_is():
    copied, own = (BY["cure", "Table 1", "cifar10", "resnet18", method] for method in ("trades", "cure"))
    assert copied.attack("pgd20") is None
    assert (own.attack("pgd20").step, own.attack("pgd20").clip_start) == (0.003, False)
    assert own.attack("aa") is None  # the release has no AutoAttack
    assert own.attack("nrr") is None  # C&W's is not known either
    arat = BY["arat", "Table 3", "cifar10", "resnet18", "arat"]
    assert (arat.attack("aa").iterations, arat.attack("sum")) == (10, arat.attack("aa"))
    assert BY["lbgat", "README", "cifar10", "wrn_34_10", "lbgat"].attack("aa").eps == 0.031


def test_a_row_that_the_authors_trained_is_not_called_copied():
    assert [name(c) for c in CLAIMS if c.method == "cure" and "opied" in c.caveat] == []
    assert [name(c) for c in CLAIMS if c.table in ("Table 5", "Table 6") and "opied" in c.caveat] == []


def test_where_a_method_is_printed():
    place = ("cifar10", "wrn_34_10", "trades")
    found = [c for c in CLAIMS if (c.dataset, c.model, c.method) == place]
    assert [(c.paper, c.table) for c in found] == [
        ("cure", "Table 1"),
        ("cure", "Table 3"),
        ("cure", "Table 8"),
        ("arat", "Table 3"),
    ]
    assert found[-1].source.startswith("Waseda et al., ICLR 2025")


def test_reading_claims_needs_no_torch():
    code = "import sys, cure.published.claims; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


SVHN_MART = "      mart:   [88.10, 54.70, 54.13, 48.95, 61.25]\n"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("\npapers:", "\npapres:", "papres: unknown key, did you mean papers?"),
        (
            "    misprinted:\n      mart:",
            "    misprintd:\n      mart:",
            "svhn resnet18.misprintd: unknown key, did you mean misprinted?",
        ),
        ("  others: Follows", "  othrs: Follows", "Table 3 cifar10 wrn_34_10.othrs: unknown key, did you mean others?"),
        (
            "svhn\n    model: resnet18\n    rows:\n      at:",
            "shvn\n    model: resnet18\n    rows:\n      at:",
            "Table 2 shvn resnet18.dataset: ",
        ),
        ("model: resnet50", "model: resnet5", "cure Table 6 cifar10 resnet5.model: "),
        (
            "[clean, pgd20, pgd100, cw, nrr]",
            "[clean, pdg20, pgd100, cw, nrr]",
            "cure Table 2 svhn resnet18.columns.1: ",
        ),
        (SVHN_MART, SVHN_MART.replace("54.13, ", ""), "cure Table 2 svhn resnet18.rows.mart: 4 values for 5 columns"),
        (SVHN_MART, SVHN_MART.replace("54.13", "54,,13"), "not valid YAML"),
        (SVHN_MART, SVHN_MART.replace("54.13", "54.l3"), "cure Table 2 svhn resnet18.rows.mart.2: not a number"),
        (SVHN_MART, SVHN_MART.replace("54.13", "true"), "cure Table 2 svhn resnet18.rows.mart.2: not a number"),
        (SVHN_MART, SVHN_MART * 2, "not valid YAML"),
        (SVHN_MART, SVHN_MART.replace("mart", "matr"), "svhn resnet18.rows: no 'mart', but it is named beside them"),
        ("own: [cure, cure_eff]", "own: [cure, cure_ef]", "rows: no 'cure_ef', but it is named beside them, did you"),
        ("model: resnet101", "model: resnet50", "cure Table 6 cifar10 resnet50.cure: is there twice"),
        ("- paper: arat", "- paper: arrat", "paper: no 'arrat' under papers, did you mean arat?"),
        ("- by: fastat", "- by: fastad", "by: no 'fastad' under reproducers, did you mean fastat?"),
        (
            "under: {aa: torchattacks_aa}",
            "under: {aa: torchatacks_aa}",
            "under: no 'torchatacks_aa' under attacks, did",
        ),
        (
            "pgd20: pgd20, aa: standard_aa}\n  best",
            "pgd20: pgd21, aa: standard_aa}\n  best",
            "no 'pgd21' under attacks",
        ),
        ("  under: {pgd20: pgd20, aa: standard_aa}\n  best", "  under: {}\n  best", "under: names no attack for"),
        ("ends: {clean: [81, 83.5]", "ends: {clean: [83.5, 81]", "clean: [83.5, 81] is not a window"),
        ("cifar100: 10000, svhn", "svhn", "cifar100 resnet18.dataset: no cifar100 under images"),
        ("steps: 10, start: uniform, clip_start: true, restarts: 3", "steps: ten", "attacks.rift_pgd10.steps"),
        ("mart: {nrr: 62.93}", "mart: {nnr: 62.93}", "cure Table 2 svhn resnet18.misprinted.mart.nnr"),
    ],
)
def test_a_slip_is_refused_by_its_place(tmp_path, old, new, complaint):
    assert TEXT.count(old) == 1
    path = tmp_path / "claims.yaml"
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError) as refused:
        load(path)
    assert complaint in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"claims\.yaml: not found"):
        load(tmp_path / "claims.yaml")
