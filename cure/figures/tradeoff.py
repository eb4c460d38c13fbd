"""Draw natural against robust accuracy, a panel for C&W and one for AutoAttack, with lines of equal NRR."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.ticker import MaxNLocator

from cure.core.figure import FOREMOST, Figure, marker, sheet, spread, style
from cure.core.finding import Claim, Finding, Verdict, outcomes
from cure.core.names import NAMES
from cure.figures.parts.labels import label

KINDS = {"cw": "C&W", "aa": "AutoAttack"}
OUT = 1 / 3
"""Rows below this share of the best robust accuracy are named in a corner, since they would squeeze the others."""


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a row of panels per data set and model."""
    settings, columns = list(data["setting"].unique()), list(data["column"].unique())
    drawn = sheet(5.6 * len(columns), 5.0 * len(settings))
    axes = drawn.subplots(len(settings), len(columns), squeeze=False)
    todo = []
    for row, setting in zip(axes, settings, strict=True):
        for ax, column in zip(row, columns, strict=True):
            part = data[(data["setting"] == setting) & (data["column"] == column)]
            kind = next(words for key, words in KINDS.items() if column.startswith(key))
            ax.set(title=setting, xlabel="clean accuracy (%)", ylabel=f"accuracy under {kind} (%)")
            todo.append((ax, _panel(ax, part)))
    drawn.draw_without_rendering()  # names need the final layout to find room
    for ax, points in todo:
        label(ax, points)
    return drawn


def _panel(ax: Axes, part: pd.DataFrame) -> list[tuple[float, float, str, str]]:
    spots = {str(method): _spot(own) for method, own in part.groupby("method", sort=False)}
    top = max(y for (_, y), _ in spots.values())
    inside = {method: spot for method, spot in spots.items() if spot[0][1] >= OUT * top}
    for method, ((x, y), (across, up)) in inside.items():
        colour = style(method)[0]
        ax.errorbar(x, y, xerr=across, yerr=up, color=colour, linewidth=0.8, alpha=0.35)
        ax.plot(x, y, marker(method), color=colour, markersize=6, zorder=4 if method in FOREMOST else 3)
    middles = np.array([spot[0] for spot in inside.values()])
    low, high = middles.min(axis=0) - 3, middles.max(axis=0) + 3
    ax.set(xlim=(low[0], min(100.5, high[0])), ylim=(max(0, low[1]), min(100, high[1])))
    _equal_nrr(ax)
    if outside := [f"{NAMES.get(m, m)} ({x:.1f}, {y:.1f})" for m, ((x, y), _) in spots.items() if m not in inside]:
        ax.annotate("outside: " + ", ".join(outside), (1, 0), (0, -42), "axes fraction", "offset points", ha="right")
    return [(x, y, NAMES.get(method, method), style(method)[0]) for method, ((x, y), _) in inside.items()]


def _spot(own: pd.DataFrame) -> tuple[tuple[float, float], tuple[Any, Any]]:
    """Return (clean, robust) and their bars: one standard deviation over seeds or, for one seed, the 95 % interval."""
    if len(own) > 1:
        both = [spread(own, ["method"], name).iloc[0] for name in ("clean_accuracy", "accuracy")]
        return (both[0]["mean"], both[1]["mean"]), (both[0]["sd"], both[1]["sd"])
    one = own.iloc[0]
    bars = [[[one[f"{p}accuracy"] - one[f"{p}low"]], [one[f"{p}high"] - one[f"{p}accuracy"]]] for p in ("clean_", "")]
    return (one["clean_accuracy"], one["accuracy"]), (bars[0], bars[1])


def _equal_nrr(ax: Axes) -> None:
    """Draw lines 2 x y / (x + y) = constant, named at the right edge."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    x = np.linspace(left, right, 100)
    for level in MaxNLocator(6).tick_values(2 * left * low / (left + low), 2 * right * high / (right + high)):
        y = level * x / (2 * x - level)
        ax.plot(x, np.where(2 * x > level, y, np.nan), color="#bbbbbb", linewidth=0.7, zorder=0)
        if low < y[-1] < high:
            ax.annotate(
                f"NRR {level:g}",
                (right, y[-1]),
                (3, 0),
                textcoords="offset points",
                va="center",
                color="#777777",
            )
    ax.set(xlim=(left, right), ylim=(low, high))


def costs(data: pd.DataFrame) -> Verdict:
    """Compare natural and adversarial training on clean images."""
    return _cleaner(data, "natural", "at", same_runs=False)


def regains(data: pd.DataFrame) -> Verdict:
    """Compare RiFT with the AT networks that it fine-tunes, on clean images."""
    return _cleaner(data, "rift", "at", same_runs=True)


def _cleaner(data: pd.DataFrame, first: str, second: str, same_runs: bool) -> Verdict:
    part = data[data["column"] == data["column"].iloc[0]]
    means = part.groupby("method")["clean_accuracy"].mean()
    told = f"clean: {NAMES[first]} {means[first]:.1f} %, {NAMES[second]} {means[second]:.1f} %"
    one, other = (outcomes(part, name, "clean_outcome") for name in (first, second))
    return told, [Claim(one, other, same_runs)]


FIGURE = Figure(
    "Accuracy on clean test images against accuracy under C&W and under AutoAttack; grey lines have equal NRR, bars "
    "are 95 % intervals over images or, of several seeds, one standard deviation.",
    data="tradeoff",
    without="no C&W and no AutoAttack column in attack.columns",
    draw=draw,
    findings=(
        Finding("TRADES, Section 1", "Robustness costs natural accuracy.", ("natural", "at"), costs),
        Finding(
            "RiFT, Table 1",
            "Fine-tuning AT's least critical module raises its natural accuracy, by about 1 to 2 points.",
            ("rift", "at"),
            regains,
        ),
    ),
)
