"""The rows of the table, from the results of the runs that `grid` names."""

from math import isfinite
from typing import Any

import pandas as pd

from cure.evaluation.statistics.results import RunAttackResult, counts
from cure.evaluation.statistics.summaries import corrupted_mean
from cure.reporting import corrupted
from cure.reporting.results import Results, methods, place, setting
from cure.settings.sections import AttackSuite, Grid
from cure.storage.paths import Run


def key(run: Run) -> tuple[str, str]:
    """The setting and the method of a run, which name its row."""
    return setting(run), run.method


def measured(results: Results) -> pd.DataFrame:
    """One line per run in percent: clean, each attack column, worst case, their NRR, corruptions' mean; for a column
    of smallest perturbations their median in percent of the pixel range; of the last epoch, COLUMN_last and its
    difference from the evaluated network, COLUMN_delta."""
    found = results.corruptions
    counted = corrupted.counted(found)
    return pd.DataFrame(
        [_line(run, attack, corrupted_mean(found[run], counted)) for run, attack in results.attacks.items()]
    )


def _line(run: Run, attack: RunAttackResult, mean: float) -> dict[str, Any]:
    return {
        **place(run),
        **{name: 100 * share for name, share in attack.shares().items()},
        **{f"median_{name}": 100 * attack.quantile(name, 0.5) for name in attack.minima},
        **_last(attack),
        "corrupted": mean,
        "epoch": attack.epoch,
        "images": attack.images,
    }


def _last(attack: RunAttackResult) -> dict[str, float]:
    found: dict[str, float] = {}
    ends = (attack.outcomes, attack.last.outcomes if attack.last else {})
    for name in ends[1]:
        best, last = (correct / images for correct, images, _ in (counts(outcomes, name) for outcomes in ends))
        found |= {f"{name}_last": 100 * last, f"{name}_delta": 100 * (last - best)}
    return found


def over_seeds(lines: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Means over seeds, methods in the order of the table."""
    means = lines.groupby(["setting", "method"], sort=False).mean(numeric_only=True).drop(columns="seed").reset_index()
    return means.sort_values(by="method", key=lambda names: names.map(methods(grid).index), kind="stable").sort_values(
        by="setting", kind="stable"
    )


def metrics(means: pd.DataFrame, suite: AttackSuite) -> dict[str, dict[str, dict[str, float]]]:
    """setting -> method -> measure -> percent, rounded to two decimals, for DVC, which shows a column for each.

    Measures are clean accuracy, the columns of the table, and NRR in place of the column that it is of.
    """
    named = {"clean": "clean", **{name: name for name in suite.table if name != suite.nrr}, "nrr": f"nrr_{suite.nrr}"}
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for line in means.to_dict("records"):
        values = {name: round(float(line[of]), 2) for name, of in named.items() if of in line and isfinite(line[of])}
        nested.setdefault(str(line["setting"]), {})[str(line["method"])] = values
    return nested


def curves(results: Results) -> pd.DataFrame:
    """Validation accuracy per epoch of every run with a training loop of its own, one line per run and epoch."""
    frames = []
    for run in results.trained:
        frame = results.curve(run)[["epoch", "val_clean", "val_pgd"]].dropna()
        frames.append(frame.assign(**place(run)))
    return pd.concat(frames, ignore_index=True)
