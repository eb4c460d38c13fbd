"""Draw robust overfitting: validation PGD accuracy over training, a panel per method with all others in grey."""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import ACROSS, Figure, columns, marker, multiples, sheet, spread, style
from cure.core.finding import Claim, Finding, Verdict, outcomes, untested
from cure.core.names import NAMES, heading


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a block of panels per data set and model: the mean over seeds, with a band of one standard deviation."""
    settings = list(data["setting"].unique())
    methods = data["method"].nunique()
    across = columns(methods, ACROSS)
    drawn = sheet(2.0 * across, (1.8 * -(-methods // across) + 0.6) * len(settings))
    for block, setting in zip(drawn.subfigures(len(settings), 1, squeeze=False)[:, 0], settings, strict=True):
        part = spread(data[data["setting"] == setting], ["method", "epoch"], "val_pgd")
        block.suptitle(setting)
        _block(block, 100 * part)
    return drawn


def _block(block: SubFigure, accuracy: Any) -> None:
    lines = {method: accuracy.loc[method].sort_index() for method in accuracy.index.unique("method")}
    titles = {
        method: f"{NAMES.get(method, method)}: {line['mean'].max():.0f} % at {line['mean'].idxmax()}"
        for method, line in lines.items()
    }

    top = 10 * math.ceil(accuracy["mean"].max() / 10 + 0.5)
    means, names = {method: line["mean"] for method, line in lines.items()}, ("epoch", "validation PGD accuracy (%)")
    for ax, method in multiples(block, means, titles, names):
        line, colour = lines[method], style(method)[0]
        ax.fill_between(
            line.index, line["mean"] - line["sd"], line["mean"] + line["sd"], color=colour, alpha=0.25, lw=0
        )
        ax.plot([line["mean"].idxmax()], [line["mean"].max()], marker(method), color=colour, markersize=5)
        ax.set_ylim(0, min(100, top))
        ax.locator_params(axis="x", integer=True)


def stable(data: pd.DataFrame) -> Verdict:
    """Test whether AT's last network is less accurate than its best on the test split, and CURE's is not.

    If a last network was not attacked there, compare on the validation split, where the best epoch is a maximum.
    """
    rows = data[data["method"].isin(["at", "cure"])]
    ends = rows.sort_values("epoch").groupby(["method", "seed"]).tail(1).dropna(subset=["best_outcome", "last_outcome"])
    if len(ends) < rows.groupby(["method", "seed"]).ngroups:
        return _validated(rows)
    cure, at = (_fall_tested(ends, row) for row in ("cure", "at"))
    told, holds = _said(cure, at)
    best, last = (outcomes(ends, "at", f"{end}_outcome") for end in ("best", "last"))
    told = f"on {sum(c != '-' for c in best[0])} test images under {heading(ends['tested'].iloc[0])}, {told}"
    return told, [Claim(best, last, same_runs=True)] if holds else False


@untested
def _validated(rows: pd.DataFrame) -> tuple[str, bool]:
    told, holds = _said(*(_fall_validated(rows, row) for row in ("cure", "at")))
    return f"on the validation split, {told}", holds


def _said(cure: float, at: float) -> tuple[str, bool]:
    return f"last minus best epoch: CURE {cure:+.2f} points, AT {at:+.2f}", at < 0 <= cure


def _fall_tested(ends: pd.DataFrame, method: str) -> float:
    best, last = (_share(outcomes(ends, method, f"{end}_outcome")) for end in ("best", "last"))
    return 100 * (last - best)


def _share(texts: list[str]) -> float:
    return sum(text.count("1") for text in texts) / sum(len(text) - text.count("-") for text in texts)


def _fall_validated(data: pd.DataFrame, method: str) -> float:
    line = 100 * data[data["method"] == method].groupby("epoch")["val_pgd"].mean()
    return float(line.iloc[-1] - line.max())


FIGURE = Figure(
    "PGD accuracy on the validation split after each epoch; the dot is the best epoch, "
    "and a fall behind it is robust overfitting.",
    data="curves",
    without="no row with a training loop in this grid",
    draw=draw,
    seeds="Mean of {} seeds, bands are one standard deviation.",
    findings=(
        Finding(
            "CURE, Fig. 5c and Table 3",
            "Robust overfitting: AT's robust accuracy falls behind its best epoch, CURE's does not.",
            ("at", "cure"),
            stable,
        ),
    ),
)
