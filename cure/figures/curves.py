"""Robust overfitting: validation PGD accuracy over training, a panel per method with all others in grey behind it."""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import ACROSS, Figure, multiples, sheet, spread, style
from cure.core.finding import Finding, Verdict
from cure.core.names import NAMES


def draw(data: pd.DataFrame) -> Sheet:
    """A block of panels for each data set and model; mean over seeds, with a band of one standard deviation."""
    settings = list(data["setting"].unique())
    down = math.ceil(data["method"].nunique() / ACROSS)
    drawn = sheet(2.6 * min(ACROSS, data["method"].nunique()), (2.1 * down + 0.6) * len(settings))
    for block, setting in zip(drawn.subfigures(len(settings), 1, squeeze=False)[:, 0], settings, strict=True):
        part = spread(data[data["setting"] == setting], ["method", "epoch"], "val_pgd")
        block.suptitle(setting, fontsize="medium")
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
        ax.plot([line["mean"].idxmax()], [line["mean"].max()], "o", color=colour, markersize=5)
        ax.set_ylim(0, min(100, top))
        ax.locator_params(axis="x", integer=True)


def stable(data: pd.DataFrame) -> Verdict:
    """CURE's last epoch is closer to its best than AT's."""

    def fall(method: str) -> float:
        line = 100 * data[data["method"] == method].groupby("epoch")["val_pgd"].mean()
        return float(line.iloc[-1] - line.max())

    cure, at = fall("cure"), fall("at")
    return f"last minus best epoch: CURE {cure:+.1f} points, AT {at:+.1f}", cure > at


FIGURE = Figure(
    "PGD accuracy on the validation split after each epoch, mean and standard deviation over seeds; the dot is the "
    "best epoch, and a fall behind it is robust overfitting.",
    data="curves",
    without="no row with a training loop in this grid",
    draw=draw,
    findings=(
        Finding(
            "CURE, Fig. 5c and Table 3",
            "Robust overfitting: AT's robust accuracy falls behind its best epoch, CURE's does not.",
            ("at", "cure"),
            stable,
        ),
    ),
)
