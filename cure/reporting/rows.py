"""The rows of the table, from the results of the runs that `grid` names."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from cure.core.names import ORDER
from cure.errors import UserError
from cure.evaluation.statistics import results
from cure.reporting import corrupted
from cure.reporting.place import place, setting
from cure.settings.sections import AttackSuite, Grid
from cure.storage.paths import Run


def methods(grid: Grid) -> list[str]:
    """The rows of the table from top to bottom; those that ORDER does not name come last, by family."""
    return sorted(grid.rows, key=lambda row: ORDER.index(row) if row in ORDER else len(ORDER))


def runs(grid: Grid, some: list[str] | None = None) -> list[Run]:
    """Every run of the table, or of some of its rows; never what happens to lie on the disk."""
    return [
        Run(dataset, model, method, seed)
        for dataset in grid.datasets
        for model in grid.models
        for method in (methods(grid) if some is None else some)
        for seed in grid.seeds
    ]


def key(run: Run) -> tuple[str, str]:
    """The setting and the method of a run, which name its row."""
    return setting(run), run.method


def read(path: Path) -> Any:
    """A result file; refuses with the command that makes it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: not there yet; `dvc repro` makes it") from None
    except ValueError:
        raise UserError(f"{path}: not a whole result; delete it and run `dvc repro`") from None


def trained(grid: Grid) -> list[Run]:
    """The runs with a curve: all but those that only consolidate another row."""
    return [run for run in runs(grid) if run.method not in grid.revise_from_robust]


def revised(grid: Grid) -> list[Run]:
    """The runs that consolidate a trajectory or another row."""
    return runs(grid, grid.revised)


def measured(grid: Grid, suite: AttackSuite) -> pd.DataFrame:
    """One line per run in percent: clean, each attack column, worst case, their NRR, corruptions' mean; for a column
    of smallest perturbations their median in percent of the pixel range; of the last epoch, COLUMN_last and its
    difference from the evaluated network, COLUMN_delta."""
    found = corruptions(grid)
    counted = corrupted.counted(found)
    return pd.DataFrame([_line(run, suite, corrupted.mean(found[run], counted)) for run in found])


def _line(run: Run, suite: AttackSuite, mean: float) -> dict[str, Any]:
    attack = read(run.result("attack"))
    return {
        **place(run),
        **{name: 100 * share for name, share in results.shares(attack).items()},
        **{f"median_{name}": 100 * results.quantile(attack, name, 0.5) for name in results.minima(attack)},
        **_last(attack),
        "corrupted": mean,
        "epoch": attack["epoch"],
        "images": attack["images"],
    }


def _last(attack: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in attack["last"]["outcomes"] if attack["last"] else ():
        best, last = (
            correct / images for correct, images, _ in (results.counts(r, name) for r in (attack, attack["last"]))
        )
        found |= {f"{name}_last": 100 * last, f"{name}_delta": 100 * (last - best)}
    return found


def over_seeds(lines: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Means over seeds, methods in the order of the table."""
    means = lines.groupby(["setting", "method"], sort=False).mean(numeric_only=True).drop(columns="seed").reset_index()
    return means.sort_values(by="method", key=lambda names: names.map(methods(grid).index), kind="stable").sort_values(
        by="setting", kind="stable"
    )


def metrics(means: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """setting -> method -> measure -> percent, rounded to two decimals, for `dvc metrics diff`."""
    numbers = [name for name in means.columns if name not in ("setting", "method", "epoch", "images")]
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for line in means.to_dict("records"):
        values = {name: round(float(line[name]), 2) for name in numbers if isfinite(line[name])}
        nested.setdefault(str(line["setting"]), {})[str(line["method"])] = values
    return nested


def curves(grid: Grid) -> pd.DataFrame:
    """Validation accuracy per epoch of every run with a training loop of its own, one line per run and epoch."""
    frames = []
    for run in trained(grid):
        frame = curve(run)[["epoch", "val_clean", "val_pgd"]].dropna()
        frames.append(frame.assign(**place(run)))
    return pd.concat(frames, ignore_index=True)


def curve(run: Run) -> pd.DataFrame:
    """What training wrote down, one line per epoch."""
    try:
        return pd.read_csv(run.curve)
    except FileNotFoundError:
        raise UserError(f"{run.curve}: not there yet; `dvc repro` makes it") from None


def corruptions(grid: Grid) -> corrupted.Results:
    """What the stage corrupt found of every run."""
    return {run: read(run.result("corrupt")) for run in runs(grid)}
