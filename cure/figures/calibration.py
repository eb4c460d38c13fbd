"""Draw reliability diagrams: accuracy against confidence, on clean and on adversarial images."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, style
from cure.figures.parts.layout import legend_below, tiles

VIEWS = {"clean": ("-", "o", True), "adversarial": ("--", "s", False)}  # line, marker, and whether the marker is filled


def error(part: pd.DataFrame) -> str:
    """Return the ECE in percent, the sum over bins of images * |accuracy - confidence|, as mean and sd over seeds."""
    gaps = 100 * part["images"] * (part["accuracy"] - part["confidence"]).abs()
    each = gaps.groupby(part["seed"]).sum()
    return f"{each.mean():.1f} ±{each.std():.1f} %" if len(each) > 1 else f"{each.mean():.1f} %"


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a panel per method, with the images of all seeds pooled."""
    drawn, parts = tiles(data, 2.4, 2.7, x="confidence", y="accuracy")
    for ax, part in parts:
        colour, _, _ = style(part["method"].iloc[0])
        ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        for view, (dash, mark, filled) in VIEWS.items():
            own = part[part["view"] == view]
            sums = own[["confidence", "accuracy"]].mul(own["images"], axis=0).groupby(own["bin"]).sum()
            counts = own.groupby("bin")["images"].sum()
            points = sums[counts > 0].div(counts[counts > 0], axis=0)
            ax.plot(points["confidence"], points["accuracy"], dash, color=colour, linewidth=1)
            area, face = 4 + 150 * (counts[counts > 0] / counts.sum()), colour if filled else "white"
            how: dict[str, Any] = {"marker": mark, "facecolor": face, "edgecolor": colour, "label": view, "zorder": 3}
            ax.scatter(points["confidence"], points["accuracy"], area, clip_on=False, **how)
        clean, adversarial = (error(part[part["view"] == view]) for view in VIEWS)
        ax.set_title(f"{ax.get_title()}\nECE {clean}, adv. {adversarial}")
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")
        ax.grid(alpha=0.3)
    legend_below(drawn, ax)
    return drawn


FIGURE = Figure(
    "Share of validation images that are classified correctly against the confidence of the evaluated network, in bins "
    "of equal width (areas: how many images), clean and under PGD-20; the grey line is perfect calibration, ECE the "
    "mean distance from it.",
    data="calibration",
    without="no analysed row in this grid",
    draw=draw,
    seeds="The images of {} seeds together, ECE as a mean of theirs ± one standard deviation.",
)
