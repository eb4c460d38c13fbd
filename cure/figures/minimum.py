"""Draw the smallest perturbation that changes a prediction: median and quartiles of each method."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, marker, sheet, spread, style
from cure.core.names import NAMES

QUARTILES = [0.75, 0.5, 0.25]
NORMS = {"linf": "L-inf", "l2": "L2"}


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a row per data set and model and a panel per norm: mean and standard deviation over seeds."""
    settings, columns = list(data["setting"].unique()), list(data["column"].unique())
    methods = list(data["method"].unique())
    drawn = sheet(1 + 3.6 * len(columns), (0.9 + 0.26 * len(methods)) * len(settings))
    axes = drawn.subplots(len(settings), len(columns), squeeze=False, sharey=True, sharex="col")
    for row, setting in zip(axes, settings, strict=True):
        for ax, column in zip(row, columns, strict=True):
            _panel(ax, data[(data["setting"] == setting) & (data["column"] == column)], methods)
            ax.set_title(f"{setting}, {NORMS[data[data['column'] == column]['norm'].iloc[0]]}")
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("smallest perturbation (image range: 1)")
    return drawn


def _panel(ax: Axes, part: pd.DataFrame, methods: list[str]) -> None:
    found = spread(part[np.isfinite(part["radius"])], ["method", "surviving"], "radius")
    for place, method in enumerate(methods):
        known = found.loc[method] if method in found.index.unique("method") else found.iloc[:0]
        low, middle, high = (known["mean"].get(share, np.inf) for share in QUARTILES)
        colour = style(method)[0]
        if np.isfinite(middle):
            ends = [low, high if np.isfinite(high) else known["mean"].max()]
            ax.plot(ends, [place, place], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
            ax.plot([middle], [place], marker(method), color=colour, markersize=6)
            ax.errorbar([middle], [place], xerr=[known["sd"].get(0.5, 0.0)], color="black", linewidth=1)
            ax.annotate(f"{middle:.3f}", (middle, place), (0, 5), textcoords="offset points", ha="center")
        else:
            ax.text(0, place, " more than half were not broken", va="center")
    ax.set_yticks(range(len(methods)), [NAMES.get(method, method) for method in methods])
    ax.set_ylim(len(methods) - 0.4, -0.8)
    ax.set_xlim(0, None)
    ax.grid(axis="x", alpha=0.3)


FIGURE = Figure(
    "Median (dot) and quartiles (bar) of the smallest perturbation found for the test images that are correct clean, "
    "in each norm.",
    data="minima",
    without="no column of smallest perturbations in attack.columns",
    draw=draw,
    seeds="Mean of {} seeds, whiskers are one standard deviation.",
)
