"""Check the layer-wise study of params.yaml: its schedule, and its block sets against the parts of the models."""

from collections import Counter
from functools import partial
from typing import Any

from cure import catalogue
from cure.errors import UserError, did_you_mean
from cure.settings.layers import Blocks, Freezing
from cure.settings.params import Params
from cure.settings.problems import Problems, collect, fill
from cure.settings.sections import Fit, Grid

KEYS = ["update", "blocks"]


def check_layers(raw: dict[str, Any], problems: Problems) -> None:
    """Add the mistakes in the section `layers`; those in the grid are left to its own check."""
    section, grid = raw.get("layers"), fill(Grid, raw.get("grid"), "grid", Problems())
    if not isinstance(section, dict):
        if "layers" in raw:
            problems.append("layers: not a mapping with `update` and `blocks`")
        return
    problems.extend(f"layers.{key}: unknown key{did_you_mean(str(key), KEYS)}" for key in section if key not in KEYS)
    blocks = section.get("blocks")
    if not isinstance(blocks, dict):
        problems.append(f"layers.blocks: {'not a mapping' if 'blocks' in section else 'missing'}")
        return
    for group in grid.layers.groups if grid else ():
        if group not in blocks:
            known = did_you_mean(group, list(map(str, blocks)))
            problems.append(f"grid.layers.groups: {group!r} is not among layers.blocks{known}")
    if grid is None:
        return
    for model in grid.layers.models:
        for dataset in grid.datasets:
            _check_schedule(raw, dataset, model, problems)
            _check_sets(raw, dataset, model, {str(name): name in grid.layers.groups for name in blocks}, problems)


def refuse_outside(raw: dict[str, Any], model: str) -> None:
    """Raise `UserError` if a model is not in the layer-wise study, since layers.blocks names parts of other models."""
    if model not in (known := raw["grid"]["layers"]["models"]):
        raise UserError(f"grid.layers.models: {model!r} is not one of these models{did_you_mean(model, known)}")


def _check_schedule(raw: dict[str, Any], dataset: str, model: str, problems: Problems) -> None:
    view, found = Params(raw, ["layers.update", "train", "pretrain", "threat"], dataset, model), Problems()
    collect(partial(view.method, "layers.update", Freezing), found)
    collect(partial(view.get, "pretrain", Fit), found)
    problems.extend(line for line in found if line.replace("layers.update.train", "train", 1) not in problems)


def _check_sets(raw: dict[str, Any], dataset: str, model: str, groups: dict[str, bool], problems: Problems) -> None:
    """Add the mistakes in the block sets of each group; `groups` maps a group to whether the grid uses it."""
    net, named = _outline(raw, model), list[str]()
    for group, used in groups.items():
        key, found, told = f"layers.blocks.{group}", Problems(), problems.of(used=used)
        view = Params(raw, [key], dataset, model)
        collect(partial(view.get, key, Blocks), found)
        told.extend(found)
        for name, parts in () if found else view.get(key, Blocks).sets.items():
            named += [name] if used else []
            for part in parts if net is not None else ():
                if part not in (known := net.updatable()):
                    told.append(f"{key}.{name}: {model} has no weights in {part!r}{did_you_mean(part, known)}")
    problems.extend(f"layers.blocks: two groups have a set {n!r}" for n, count in Counter(named).items() if count > 1)


def _outline(raw: dict[str, Any], model: str) -> Any:
    """Return the network without memory for its weights, or None if its section is missing or wrong."""
    import torch

    sections = raw.get("models")
    if model not in catalogue.names("models") or not isinstance(sections, dict) or model not in sections:
        return None
    entry = catalogue.entry("models", model)
    hyper = fill(entry.Hyper, sections[model] or {}, model, Problems())
    with torch.device("meta"):
        return None if hyper is None else entry.MODEL(hyper, channels=1, classes=1)
