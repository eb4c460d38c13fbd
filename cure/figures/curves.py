"""Robust overfitting: validation PGD accuracy over training, a panel per method with all others in grey behind it."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import Figure, sheet, style
from cure.core.finding import Finding, Verdict
from cure.core.names import NAMES

ACROSS = 5
"""Panels side by side."""


def draw(data: pd.DataFrame) -> Sheet:
    """A block of panels for each data set and model; mean over seeds."""
    settings = list(data["setting"].unique())
    down = math.ceil(data["method"].nunique() / ACROSS)
    drawn = sheet(2.6 * min(ACROSS, data["method"].nunique()), (2.1 * down + 0.6) * len(settings))
    for block, setting in zip(drawn.subfigures(len(settings), 1, squeeze=False)[:, 0], settings, strict=True):
        part = data[data["setting"] == setting].groupby(["method", "epoch"], sort=False)["val_pgd"].mean()
        _block(block, setting, 100 * part)
    return drawn


def _block(block: SubFigure, setting: str, accuracy: Any) -> None:
    lines = {method: accuracy[method].sort_index() for method in accuracy.index.unique("method")}
    across, top = min(ACROSS, len(lines)), 10 * math.ceil(accuracy.max() / 10 + 0.5)
    axes = block.subplots(math.ceil(len(lines) / across), across, sharex=True, sharey=True, squeeze=False)
    for ax, method in zip(axes.flat, lines, strict=False):
        for other in lines.values():
            ax.plot(other.index, other, color="#d0d0d0", linewidth=0.8)
        _line(ax, method, lines[method])
        ax.set_ylim(0, min(100, top))
    for ax in axes.flat[len(lines) :]:
        ax.set_visible(False)
    for ax in axes.flat[max(0, len(lines) - across) : len(lines)]:  # a column may end above the last row
        ax.tick_params(labelbottom=True)
    block.suptitle(setting, fontsize="medium")
    block.supxlabel("epoch", fontsize="medium")
    block.supylabel("validation PGD accuracy (%)", fontsize="medium")


def _line(ax: Axes, method: str, line: Any) -> None:
    colour, dash, _ = style(method)
    ax.plot(line.index, line, color=colour, linestyle=dash, linewidth=1.6)
    ax.plot([line.idxmax()], [line.max()], "o", color=colour, markersize=5)
    ax.set_title(f"{NAMES.get(method, method)}: {line.max():.0f} % at {line.idxmax()}", fontsize="small")
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.3)


def stable(data: pd.DataFrame) -> Verdict:
    """CURE's last epoch is closer to its best than AT's."""

    def fall(method: str) -> float:
        line = 100 * data[data["method"] == method].groupby("epoch")["val_pgd"].mean()
        return float(line.iloc[-1] - line.max())

    cure, at = fall("cure"), fall("at")
    return f"last minus best epoch: CURE {cure:+.1f} points, AT {at:+.1f}", cure > at


FIGURE = Figure(
    "PGD accuracy on the validation split after each epoch, mean over seeds; the dot is the best epoch, and a fall "
    "behind it is robust overfitting.",
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
