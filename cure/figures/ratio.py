"""Draw natural and robust accuracy side by side, and their natural-robustness ratio."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, panels, spread, style
from cure.core.finding import Claim, Finding, Ratio, Verdict, outcomes
from cure.core.names import NAMES, heading

BASELINES = ("at", "trades", "mart", "fat", "st_at", "act", "ard", "iad", "las_at")
"""The methods of CURE's Tables 1 and 2 that this project has."""


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a panel per data set and model, with two bars per method: clean above, robust and hatched below."""
    methods = data["method"].nunique()
    drawn, parts = panels(data, 6.6, 1.2 + 0.36 * methods)
    for ax, part in parts:
        for place, (method, own) in enumerate(part.groupby("method", sort=False)):
            _bars(ax, place, str(method), own)
        ax.set_yticks(range(methods), [NAMES.get(name, name) for name in part["method"].unique()])
        ax.set(ylim=(methods - 0.4, -0.6), xlim=(0, 118), xticks=range(0, 101, 20))
        ax.set_xlabel(f"accuracy (%): clean, and under {heading(part['column'].iloc[0])} (hatched)")
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
    return drawn


def _bars(ax: Axes, place: int, method: str, own: pd.DataFrame) -> None:
    colour = style(method)[0]
    hatched: dict[str, Any] = {"hatch": "////", "alpha": 0.6}
    for prefix, shift, look in (("clean_", -0.2, {}), ("", 0.2, hatched)):
        value, bar = _bar(own, prefix)
        ax.barh(place + shift, value, 0.36, color=colour, edgecolor="white", linewidth=0, **look)
        ax.errorbar([value], [place + shift], xerr=bar, color="black", linewidth=0.8)
    ax.text(102, place, f"NRR {own['nrr'].mean():.1f}", va="center")


def _bar(own: pd.DataFrame, prefix: str) -> tuple[float, list[list[float]]]:
    """Return the mean and its bar: one standard deviation over seeds or, for one seed, the 95 % interval."""
    mean, sd = spread(own, ["method"], f"{prefix}accuracy").iloc[0]
    if len(own) > 1:
        return mean, [[sd], [sd]]
    return mean, [[mean - own[f"{prefix}low"].iloc[0]], [own[f"{prefix}high"].iloc[0] - mean]]


def ahead(data: pd.DataFrame) -> Verdict:
    """Compare CURE with every baseline of its paper that the table has."""
    names = ["cure", *(name for name in data["method"].unique() if name in BASELINES)]
    means = data.groupby("method")["nrr"].mean()
    told = ", ".join(f"{NAMES[name]} {means[name]:.1f}" for name in names)
    cure, *others = (Ratio(outcomes(data, name, "clean_outcome"), outcomes(data, name, "outcome")) for name in names)
    return f"NRR of clean and {heading(data['column'].iloc[0])}: {told}", [Claim(cure, other) for other in others]


FIGURE = Figure(
    "Clean accuracy (full) and accuracy under the attack of the table's NRR (hatched) on test images, with the NRR of "
    "the two; bars are 95 % intervals over images or, of several seeds, one standard deviation.",
    data="ratio",
    without="no row in this grid",
    draw=draw,
    findings=(
        Finding(
            "CURE, Tables 1 and 2",
            "CURE has a higher natural-robustness ratio than every baseline.",
            ("cure", "at", "trades", "mart"),
            ahead,
        ),
    ),
)
