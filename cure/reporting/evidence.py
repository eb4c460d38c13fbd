"""Build the tables that figures are drawn from, by name, for the runs that `grid` names."""

from collections.abc import Callable
from math import inf
from typing import Any

import pandas as pd

from cure.reporting import attacks, corrupted, layers, rows
from cure.reporting.comparison import ranks
from cure.reporting.results import AnalysisFile, Results, place
from cure.settings.sections import AttackSuite
from cure.storage.paths import Run

STEPS = 16  # radii between 0 and eps


def table(name: str, results: Results, suite: AttackSuite) -> pd.DataFrame:
    """Return the table of this name, or the arrays of the analysis of this name; empty if no row has data for it."""
    if name in OF_COLUMNS:
        return OF_COLUMNS[name](results, suite)
    return TABLES[name](results) if name in TABLES else analysed(name, results)


def criticality(results: Results) -> pd.DataFrame:
    """Return a line per run and module of RiFT, least critical first.

    `mrc` is the criticality in nats, `drop` is in percentage points, and `chosen` marks the fine-tuned module. The
    other columns are the settings of the ascent that measured them.
    """
    lines: list[dict[str, Any]] = []
    for run, found in results.rift.items():
        for module, one in sorted(found.criticality.items(), key=lambda item: item[1].mrc):
            numbers = {"mrc": round(one.mrc, 6), "drop": round(100 * one.drop, 2)}
            chosen = {"chosen": module == found.module}
            lines.append(place(run) | {"module": module} | numbers | chosen | vars(found.ascent))
    columns = ["setting", "method", "seed", "module", "mrc", "drop", "chosen"]
    return pd.DataFrame(lines, columns=[*columns, "images", "batch", "epochs", "steps", "lr", "eps"])


def interpolation(results: Results) -> pd.DataFrame:
    """Return a line per run and point of RiFT's interpolation, with accuracies in percent.

    `chosen` and `exported` mark a point. `another` and `weaker` are the percentages of resampled validation sets that
    choose another point, or find the chosen one too weak.
    """
    lines: list[dict[str, Any]] = []
    for run, found in results.rift.items():
        for variant, walk in found.interpolation.items():
            for i, point in enumerate(walk.points):
                numbers = {key: round(100 * share, 2) for key, share in point.document().items()}
                numbers |= {"images": found.ascent.images, "draws": walk.draws}
                numbers |= {"another": round(100 * walk.another, 1), "weaker": round(100 * walk.weaker, 1)}
                chosen = walk.a == i / 10
                marks = {"chosen": chosen, "exported": chosen and variant == found.bn}
                lines.append(place(run) | {"variant": variant, "a": i / 10} | numbers | marks)
    columns = ["setting", "method", "seed", "variant", "a", "clean", "pgd", "images", "draws", "another", "weaker"]
    return pd.DataFrame(lines, columns=[*columns, "chosen", "exported"])


def actions(results: Results) -> pd.DataFrame:
    """Return a line per run and epoch with the mean choices of a learned attack strategy (LAS-AT, LAS-TRADES)."""
    frames = []
    for run in results.trained:
        curve = results.curve(run)
        if chosen := [name for name in curve.columns if name.startswith("chosen_")]:
            frames.append(curve[["epoch", *chosen]].assign(**place(run)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def curves(results: Results) -> pd.DataFrame:
    """Return rows.curves, and the test outcomes of each run's evaluated and last network where both exist.

    The outcomes are those of `tested`, the first attack column in which the last network was evaluated.
    """
    ends = []
    for run in results.trained:
        result = results.attacks[run]
        last = result.last.outcomes if result.last else {}
        for name in [name for name in last if name != "clean"][:1]:
            both = {"best_outcome": result.outcomes[name], "last_outcome": last[name]}
            ends.append(place(run) | {"tested": name} | both)
    key = ["setting", "method", "seed"]
    found = pd.DataFrame(ends, columns=[*key, "tested", "best_outcome", "last_outcome"])
    return rows.curves(results).merge(found, how="left", on=key)


def minima(results: Results) -> pd.DataFrame:
    """Return attacks.survival with the norm of each column."""
    norms = {name: about.norm for result in results.attacks.values() for name, about in result.minima.items()}
    found = attacks.survival(results.attacks)
    return found.assign(norm=found["column"].map(norms))


def survival(results: Results) -> pd.DataFrame:
    """Return a line per run and radius of the L-inf ball, up to twice eps: accuracy in percent over all images."""
    lines = []
    for run, result in results.attacks.items():
        for name, about in result.minima.items():
            lengths = [inf if d is None else d for d in about.distances]
            alive = [
                d if result.outcomes["clean"][row] == "1" else 0.0 for d, row in zip(lengths, about.rows, strict=True)
            ]
            for k in range(2 * STEPS + 1) if about.norm == "linf" else ():
                radius = k * result.eps / STEPS
                alive_here = "".join("1" if d > radius else "0" for d in alive)
                numbers = {"radius": radius, "accuracy": 100 * (alive_here.count("1") / len(alive))}
                lines.append(place(run) | {"column": name, "eps": result.eps} | numbers | {"outcome": alive_here})
    return pd.DataFrame(lines)


def tradeoff(results: Results) -> pd.DataFrame:
    """Return clean and adversarial accuracy in percent, with intervals, of the first C&W and AutoAttack column."""
    columns = dict.fromkeys(name for result in results.attacks.values() for name in result.outcomes)
    first = [next((name for name in columns if name.startswith(kind)), "") for kind in ("cw", "aa")]
    return _beside_clean(results, first)


def ratio(results: Results, suite: AttackSuite) -> pd.DataFrame:
    """Return clean and adversarial accuracy in percent, with intervals, of the column that the table's NRR uses."""
    return _beside_clean(results, [suite.nrr])


def _beside_clean(results: Results, columns: list[str]) -> pd.DataFrame:
    found, key = attacks.measured(results.attacks), ["setting", "method", "seed"]
    clean = found[found["column"] == "clean"][[*key, "accuracy", "low", "high"]]
    clean = clean.rename(columns={name: f"clean_{name}" for name in ("accuracy", "low", "high")})
    texts = [
        place(run) | {"column": name, "outcome": text, "clean_outcome": result.outcomes["clean"]}
        for run, result in results.attacks.items()
        for name, text in result.outcomes.items()
    ]
    beside = found[found["column"].isin(columns)].merge(clean, on=key)
    return beside.merge(pd.DataFrame(texts, columns=[*key, "column", "outcome", "clean_outcome"]), on=[*key, "column"])


TABLES: dict[str, Callable[[Results], pd.DataFrame]] = {
    "curves": curves,
    "tradeoff": tradeoff,
    "survival": survival,
    "minima": minima,
    "corruptions": lambda results: corrupted.shared(results.corruptions),
    "criticality": criticality,
    "interpolation": interpolation,
    "actions": actions,
    "layers": layers.bars,
    "layers_curves": layers.curves,
}
OF_COLUMNS: dict[str, Callable[[Results, AttackSuite], pd.DataFrame]] = {"ratio": ratio, "ranks": ranks.drawn}
"""Tables that depend on the attack columns that params.yaml selects for the report."""


def analysed(name: str, results: Results) -> pd.DataFrame:
    """Return the arrays that an analysis wrote for the runs that it suits, with a column for each array.

    Arrays with axes get a line for each run and combination of the axes' labels. Pictures get one line for each run,
    with the class names.
    """
    frames = [_found(run, results.analysis(run, name)) for run in results.of(results.grid.analyse)]
    return pd.concat([frame for frame in frames if not frame.empty] or frames or [pd.DataFrame()], ignore_index=True)


def _found(run: Run, found: AnalysisFile | None) -> pd.DataFrame:
    if found is None:
        return pd.DataFrame()
    if not found.axes:
        return pd.DataFrame([place(run) | {"classes": found.classes} | found.arrays])
    labels = pd.MultiIndex.from_product(list(found.axes.values()), names=list(found.axes))
    lines: pd.DataFrame = labels.to_frame(index=False)
    return lines.assign(**place(run), **{key: array.ravel() for key, array in found.arrays.items()})
