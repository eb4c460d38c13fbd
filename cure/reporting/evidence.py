"""What figures and their tables are drawn from: one table by name, for the cells that `grid` names."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from cure.errors import Refused
from cure.paths import Cell
from cure.reporting import corrupted, layers, rows
from cure.schema import Grid


def table(name: str, grid: Grid) -> pd.DataFrame:
    """The table of this name, or what the analysis of this name left; empty where the grid has no row for it."""
    return TABLES[name](grid) if name in TABLES else analysed(name, grid)


def criticality(grid: Grid) -> pd.DataFrame:
    """RiFT's modules, least critical first: criticality in nats, drop in percentage points, which was chosen, and by
    what ascent on how many images this was found."""
    lines: list[dict[str, Any]] = []
    for place, found in _revised(grid, "criticality"):
        for module, one in sorted(found["criticality"].items(), key=lambda item: item[1]["mrc"]):
            numbers = {"mrc": round(one["mrc"], 6), "drop": round(100 * one["drop"], 2)}
            chosen = {"chosen": module == found["module"]}
            lines.append(place | {"module": module} | numbers | chosen | found["ascent"])
    columns = ["setting", "method", "seed", "module", "mrc", "drop", "chosen"]
    return pd.DataFrame(lines, columns=[*columns, "images", "batch", "epochs", "steps", "lr", "eps"])


def interpolation(grid: Grid) -> pd.DataFrame:
    """RiFT's points between the two networks: accuracies in percent, and which is chosen and which exported."""
    lines: list[dict[str, Any]] = []
    for place, found in _revised(grid, "interpolation"):
        for variant, walk in found["interpolation"].items():
            for i, point in enumerate(walk["points"]):
                numbers = {key: round(100 * point[key], 2) for key in ("clean", "pgd")}
                chosen = walk["a"] == i / 10
                marks = {"chosen": chosen, "exported": chosen and variant == found["bn"]}
                lines.append(place | {"variant": variant, "a": i / 10} | numbers | marks)
    columns = ["setting", "method", "seed", "variant", "a", "clean", "pgd", "chosen", "exported"]
    return pd.DataFrame(lines, columns=columns)


def actions(grid: Grid) -> pd.DataFrame:
    """The mean attack, and the mean beta of LAS-TRADES, that a learned strategy chose, per cell and epoch."""
    frames = []
    for cell in rows.trained(grid):
        curve = rows.curve(cell)
        if chosen := [name for name in curve.columns if name.startswith("chosen_")]:
            frames.append(curve[["epoch", *chosen]].assign(**_place(cell)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


TABLES: dict[str, Callable[[Grid], pd.DataFrame]] = {
    "curves": rows.curves,
    "corruptions": lambda grid: corrupted.shared(rows.corruptions(grid)),
    "criticality": criticality,
    "interpolation": interpolation,
    "actions": actions,
    "layers": layers.bars,
    "layers_curves": layers.curves,
}


def analysed(name: str, grid: Grid) -> pd.DataFrame:
    """What an analysis found in every row that it suits.

    With axes, a line for each cell and combination of their labels, and a column for each array. Pictures: a line for
    each cell, with its class names and a column for each array.
    """
    frames = [_found(cell, name) for cell in rows.cells(grid, grid.analyse)]
    return pd.concat([frame for frame in frames if not frame.empty] or frames or [pd.DataFrame()], ignore_index=True)


def _found(cell: Cell, name: str) -> pd.DataFrame:
    from safetensors import SafetensorError, safe_open

    path = cell.analysis(name)
    if path.parent.is_dir() and not path.exists():
        return pd.DataFrame()  # it does not suit this method
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("cure", "{}"))
            arrays = {key: file.get_tensor(key) for key in sorted(file.keys())}
    except (SafetensorError, OSError):
        raise Refused(f"{path}: not there, or not whole; `dvc repro` makes it") from None
    if not about["axes"]:
        return pd.DataFrame([_place(cell) | {"classes": about["classes"]} | arrays])
    labels = pd.MultiIndex.from_product(about["axes"].values(), names=list(about["axes"]))
    lines: pd.DataFrame = labels.to_frame(index=False)
    return lines.assign(**_place(cell), **{key: array.ravel() for key, array in arrays.items()})


def _place(cell: Cell) -> dict[str, Any]:
    return {"setting": f"{cell.dataset}/{cell.model}", "method": cell.method, "seed": cell.seed}


def _revised(grid: Grid, key: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The reports of the revised cells that hold `key`."""
    for cell in rows.cells(grid, grid.revised):
        found = rows.read(cell.result("revise"))
        if key in found:
            yield _place(cell), found
