"""Whether the layer-wise study of params.yaml makes sense: its schedule, and its block sets against the models' parts."""

from functools import partial
from typing import Any

from cure import catalogue
from cure.errors import did_you_mean
from cure.params import Params
from cure.problems import Problems, collect, fill
from cure.schema import Blocks, Fit, Freezing, Grid

KEYS = ["update", "blocks"]


def check_layers(raw: dict[str, Any], problems: Problems) -> None:
    """Add what is wrong with the section layers; a grid that is itself wrong is left to its own check."""
    section = raw.get("layers")
    blocks = section.get("blocks") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(blocks, dict):
        problems.append("layers: not a mapping with `update` and `blocks`")
        return
    problems.extend(f"layers.{key}: unknown key{did_you_mean(str(key), KEYS)}" for key in section if key not in KEYS)
    grid = fill(Grid, raw.get("grid"), "grid", Problems())
    if grid is None:
        return
    for group in grid.layers.groups:
        if group not in blocks:
            problems.append(f"grid.layers.groups: {group!r} is not among layers.blocks{did_you_mean(group, list(blocks))}")
    for model in grid.layers.models:
        for dataset in grid.datasets:
            view = Params(raw, ["layers.update", "train", "pretrain", "threat"], dataset, model)
            found = Problems()
            collect(partial(view.method, "layers.update", Freezing), found)
            collect(partial(view.get, "pretrain", Fit), found)
            problems.extend(line for line in found if line.replace("layers.update.train", "train", 1) not in problems)
            for group in blocks:
                _check_group(raw, dataset, model, str(group), problems)


def _check_group(raw: dict[str, Any], dataset: str, model: str, group: str, problems: Problems) -> None:
    key, net = f"layers.blocks.{group}", _outline(raw, model)
    view, found = Params(raw, [key], dataset, model), Problems()
    collect(partial(view.get, key, Blocks), found)
    problems.extend(found)
    if net is None or found:
        return
    known = net.updatable()
    for name, parts in view.get(key, Blocks).sets.items():
        for part in parts:
            if part not in known:
                problems.append(f"{key}.{name}: {model} has no weights in {part!r}{did_you_mean(part, known)}")


def _outline(raw: dict[str, Any], model: str) -> Any:
    """The network without memory or numbers, None where its section is missing or wrong."""
    import torch

    sections = raw.get("models")
    if model not in catalogue.names("models") or not isinstance(sections, dict) or model not in sections:
        return None
    entry = catalogue.entry("models", model)
    hyper = fill(entry.Hyper, sections[model] or {}, model, Problems())
    with torch.device("meta"):
        return None if hyper is None else entry.MODEL(hyper, channels=1, classes=1)
