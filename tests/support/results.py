"""Hand-made results of a grid."""

import json
from pathlib import Path

from cure.reporting.results import Results, load_results
from cure.settings.layers import LayersGrid
from cure.settings.sections import Grid
from cure.storage.paths import Run

EMPTY = ["update_to_revise", "update_from_natural", "update_from_natural_to_revise", "update_from_teacher"]
EMPTY += ["update_from_both", "revise_from_robust", "analyse"]
NO_STUDY: dict[str, list[str]] = {"models": [], "variants": [], "groups": []}


def loaded(layers: dict[str, list[str]] = NO_STUDY, **lists: list[str]) -> Results:
    """The results of digits/small with these lists."""
    listed = {key: list[str]() for key in EMPTY} | {"update": ["at"]} | lists
    table = {"datasets": ["digits"], "models": ["small"], "seeds": [0]}
    pretrain = ["small", *layers["models"]]
    return load_results(Grid(**table, **listed, pretrain=pretrain, layers=LayersGrid(**layers)))


def run(method: str) -> Run:
    return Run("digits", "small", method, 0)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


STUDY = {"models": ["small_resnet"], "variants": ["reinit"], "groups": ["first", "second"]}


def studied(**changes: list[str]) -> Results:
    """Two processes; each measures the natural network, on four images."""
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
