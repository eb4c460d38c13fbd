"""Compute the rows of the table from the results of the runs that `grid` names."""

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
    """Return setting and method of a run, which identify its row."""
    return setting(run), run.method


def measured(results: Results) -> pd.DataFrame:
    """Return a line per run in percent: clean, each attack column, worst case, their NRR, mean over corruptions.

    median_COLUMN is the median of the smallest perturbations in percent of the pixel range. COLUMN_last is the accuracy
    of the last epoch's network, and COLUMN_delta its difference last - evaluated.
    """
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
    """Return the mean over seeds of each row, in the order of the table."""
    means = lines.groupby(["setting", "method"], sort=False).mean(numeric_only=True).drop(columns="seed").reset_index()
    return means.sort_values(by="method", key=lambda names: names.map(methods(grid).index), kind="stable").sort_values(
        by="setting", kind="stable"
    )


def metrics(means: pd.DataFrame, suite: AttackSuite) -> dict[str, dict[str, dict[str, float]]]:
    """Return metrics.json: setting -> method -> measure -> percent with two decimals; DVC shows a column for each.

    Measures are clean accuracy, the attack columns of the table, and NRR instead of the column that it is based on.
    """
    named = {"clean": "clean", **{name: name for name in suite.table if name != suite.nrr}, "nrr": f"nrr_{suite.nrr}"}
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for line in means.to_dict("records"):
        values = {name: round(float(line[of]), 2) for name, of in named.items() if of in line and isfinite(line[of])}
        nested.setdefault(str(line["setting"]), {})[str(line["method"])] = values
    return nested


def curves(results: Results) -> pd.DataFrame:
    """Return validation accuracies, a line per run and epoch, of every run that has a training loop."""
    frames = []
    for run in results.trained:
        frame = results.curve(run)[["epoch", "val_clean", "val_pgd"]].dropna()
        frames.append(frame.assign(**place(run)))
    return pd.concat(frames, ignore_index=True)
