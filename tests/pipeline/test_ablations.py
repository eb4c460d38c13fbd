"""The page of the ablations: what is compared with what, how the differences are marked, and what is refused."""

import contextlib
import json

import numpy as np
import pytest
import torch

from cure.analyses.invariance import PULLED
from cure.core.analysis import AnalysisResult
from cure.errors import UserError
from cure.settings.params import read
from cure.storage.paths import Run
from cure.training.run_analyses import write
from pilot.ablations import CONFLICT, STARTS, conflict, outcomes, page, reference
from pilot.study import STUDIES, pipelines
from tests.support.descriptions import natural

VARIANTS = [*read(STUDIES / "ablations.yaml")["variants"]]
SHARES = {"cure_no_mask": 0.2, "natural": 0.0}  # of images that PGD-20 leaves right; others 0.5


def result(share, seed):
    draws = np.random.default_rng([seed, round(100 * share)])
    right = draws.random(2000) < 0.8
    alive = right & (draws.random(2000) < share / 0.8)
    text = ["".join("01"[int(one)] for one in flags) for flags in (right, alive)]
    about = {"label": "standard", "package": "none 1", "broken_by": {}}
    seen = {"clean": text[0], "pgd20": text[1], "cw20": text[1], "aa": text[1]}
    columns = {name: about | {"label": "standard" if name == "aa" else ""} for name in ("pgd20", "cw20", "aa")}
    more = {"problems": [], "eps": 0.03, "seed": 0, "batch": 100, "epoch": 1, "last": None}
    return {"images": 2000, "outcomes": seen, "columns": columns} | more


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("ablations")
    for variant in VARIANTS:
        folder = place / variant / "results" / "folder" / "small_resnet"
        folder.mkdir(parents=True)
        start = [STARTS[variant]] if variant in STARTS else []
        for method in (variant.partition("_")[0], "natural", *start):
            for seed in (0, 1):
                share = SHARES.get(variant if method == "cure" else method, 0.5)
                (folder / f"{method}-s{seed}-attack.json").write_text(json.dumps(result(share, seed)))
    return place


def test_every_variant_is_compared_with_the_method_that_it_is_made_of():
    assert {name: reference(name) for name in VARIANTS if reference(name) != name} == {
        "cure_no_mask": "cure",
        "cure_no_revision": "cure",
        "cure_alpha_0": "cure",
        "cure_alpha_0.5": "cure",
        "cure_alpha_1": "cure",
        "rift": "at",
        "rift_on_trades": "trades",
        "arat_no_stop_gradient": "arat",
        "arat_no_predictor": "arat",
        "arat_no_split_batchnorm": "arat",
    }


def test_the_page_marks_the_difference_that_is_there(place):
    lines = [line for line in page(outcomes(VARIANTS, place), VARIANTS).splitlines() if line.startswith("| ")]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines[2:]}
    assert len(rows) == 10
    assert {name for name, line in rows.items() if r"\*" in line} == {"CURE no mask"}
    assert "| 20." in rows["CURE no mask"].replace("| 19.", "| 20.")
    assert rows["RiFT on TRADES"].split(" | ")[1] == "TRADES"


def test_the_conflict_is_read_from_the_networks_without_stop_gradient(tmp_path):
    (one,) = (each for each in pipelines("ablations", tmp_path) if each.name == f"ablations/{CONFLICT}")
    cosine = torch.tensor([[0.25, -0.5, -0.125]])
    for seed in (0, 1):
        run = Run("folder", "small_resnet", "arat", seed)
        with contextlib.chdir(one.folder):
            found = AnalysisResult({"cosine": cosine, "opposed": cosine.abs()}, {"layer": ["bn1"], "pulled": PULLED})
            write(run, "invariance", natural("small", {}, ["cat"], ""), found)
    text = conflict(one.folder)
    assert "clean side -0.50, adversarial side +0.25" in text
    assert "so in 2 of 2 networks, no interval. Agrees: yes." in text


def test_results_that_are_not_there_yet_are_named(place, tmp_path):
    with pytest.raises(UserError, match=r"cure: no results yet"):
        outcomes(VARIANTS, tmp_path)
