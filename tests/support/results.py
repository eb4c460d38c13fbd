"""Results of a grid, written by hand for tests."""

import json
from pathlib import Path

from cure.reporting.results import Results, load_results
from cure.settings.layers import LayersGrid
from cure.settings.sections import AttackSuite, Grid
from cure.storage.paths import Run

EMPTY = ["update_to_revise", "update_from_natural", "update_from_natural_to_revise", "update_from_teacher"]
EMPTY += ["update_from_both", "revise_from_robust", "analyse"]
NO_STUDY: dict[str, list[str]] = {"models": [], "variants": [], "groups": []}


def loaded(layers: dict[str, list[str]] = NO_STUDY, seeds: tuple[int, ...] = (0,), **lists: list[str]) -> Results:
    """Load the results of digits/small with these lists."""
    listed = {key: list[str]() for key in EMPTY} | {"update": ["at"]} | lists
    table = {"datasets": ["digits"], "models": ["small"], "seeds": [*seeds]}
    pretrain = ["small", *layers["models"]]
    return load_results(Grid(**table, **listed, pretrain=pretrain, layers=LayersGrid(**layers)))


SUITE = AttackSuite(
    images=4,
    batch=4,
    seed=0,
    layout="contiguous",
    precision="fp32",
    subset={},
    on_request={},
    table=["pgd20"],
    nrr="cw20",
    last=[],
    columns={"pgd20": {}, "cw20": {}},
)
"""Columns of a table, and another for its NRR."""


def run(method: str, seed: int = 0) -> Run:
    return Run("digits", "small", method, seed)


def outcomes_of(right: dict[str, list[int]]) -> dict[Run, dict[str, str]]:
    """Return outcomes of 100 images: per method and seed a number correct clean, under PGD-20 the same for all."""
    return {
        run(method, seed): {"clean": "1" * count + "0" * (100 - count), "pgd20": "01" * 50}
        for method, counts in right.items()
        for seed, count in enumerate(counts)
    }


def attack_result(right: int) -> str:
    """Return the file of the stage attack: `right` of 100 images are correct clean, half of them under each attack."""
    clean, left = ("1" * count + "0" * (100 - count) for count in (right, right // 2))
    column = {"label": "", "package": "", "broken_by": {}}
    about = {"images": 100, "outcomes": {"clean": clean, "pgd20": left, "cw20": left}, "problems": [], "last": None}
    about |= {"columns": {"pgd20": column, "cw20": column}, "eps": 0.1, "seed": 0, "batch": 4, "epoch": 2}
    return json.dumps(about)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


STUDY = {"models": ["small_resnet"], "variants": ["reinit"], "groups": ["first", "second"]}


def studied(**changes: list[str]) -> Results:
    """Return results of two processes; each measures the natural network, on four images."""
    about = {"images": 4, "epochs": 2}
    natural = {"parts": [], "updated": 0.0, "clean": "1111", "pgd": "0000"}
    for group, parts in (("first", ["layer1"]), ("second", ["layer1", "layer2"])):
        name = f"u{len(parts)}"
        networks = {"natural": natural, name: {"parts": parts, "updated": 0.125, "clean": "1110", "pgd": "1000"}}
        run = Run("digits", "small_resnet", "natural", 0).layers("reinit", group)
        write(run.result("layers"), json.dumps(about | {"networks": networks}))
        write(run.curve, f"set,epoch,lr,robust,val_clean,val_pgd\n{name},1,0.1,2.0,,\n{name},2,0.1,1.0,0.75,0.25\n")
    return loaded(layers=STUDY | changes)


ROWS = ("natural", "at", "trades")
