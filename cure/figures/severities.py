"""Draw accuracy under common corruptions by category and severity: a panel per category, a bar per method."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, sheet, spread, style
from cure.core.names import NAMES

SHOWN = 3
"""The severity of the printed number, as in the paper; if it was not measured, the middle one is printed."""


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a row of panels per data set and model; a category is the plain mean of its corruptions."""
    settings, categories = list(data["setting"].unique()), list(data["category"].unique())
    methods = list(data["method"].unique())
    drawn = sheet(0.9 + 2.7 * len(categories), (1.1 + 0.24 * len(methods)) * len(settings))
    blocks = drawn.subfigures(len(settings), 1, squeeze=False)[:, 0]
    for block, setting in zip(blocks, settings, strict=True):
        block.suptitle(setting)
        for ax, category in zip(
            block.subplots(1, len(categories), squeeze=False, sharey=True)[0], categories, strict=True
        ):
            _panel(ax, data[(data["setting"] == setting) & (data["category"] == category)], methods)
            ax.set_title(category)
    return drawn


def _panel(ax: Axes, part: pd.DataFrame, methods: list[str]) -> None:
    of_seeds = part.groupby(["method", "severity", "seed"], sort=False)["accuracy"].mean().reset_index()
    found = spread(of_seeds, ["method", "severity"], "accuracy")
    levels = sorted(map(int, part["severity"].unique()))
    shown = SHOWN if SHOWN in levels else levels[len(levels) // 2]
    for place, method in enumerate(methods):
        if method not in found.index.unique("method"):
            continue
        means = found.loc[method]
        for level in levels:  # weaker ones are lighter, reach further and are drawn first
            ax.barh(place, means["mean"][level], 0.76, color=_tint(style(method)[0], level))
        middle, sd = float(means["mean"][shown]), float(means["sd"][shown])
        ax.plot([middle, middle], [place - 0.38, place + 0.38], color="black", linewidth=1.2)
        ax.errorbar([middle], [place], xerr=[sd], color="black", linewidth=0.8)
        ax.text(101, place, f"{middle:.0f}", va="center")
    ax.set_yticks(range(len(methods)), [NAMES.get(method, method) for method in methods])
    ax.set(ylim=(len(methods) - 0.4, -0.6), xlim=(0, 113), xticks=range(0, 101, 25), xlabel="accuracy (%)")
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)


def _tint(colour: str, level: int) -> tuple[float, ...]:
    share = level / 5
    return tuple(1 - share * (1 - part) for part in to_rgb(colour))


FIGURE = Figure(
    "Accuracy on corrupted test images by category: a bar is shaded from severity 1, light, to 5, dark; the line and "
    "the number are severity 3.",
    data="corruptions",
    without="no row in this grid",
    draw=draw,
    seeds="Mean of {} seeds, whiskers are one standard deviation.",
)
