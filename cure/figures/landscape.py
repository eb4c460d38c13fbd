"""Draw a slice of the loss around images: along the adversarial direction, and along random signs."""

import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure
from cure.figures.parts.layout import tiles

FLOOR = 1e-3
"""Nats. A smaller loss is drawn as this value."""


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a map per method, as a mean over seeds; all maps share one scale."""
    x, y = "along random signs (radii)", "along the attack (radii)"
    drawn, parts = tiles(data, 2.5, 2.1, x=x, y=y, bar="cross-entropy (nats)")
    scale = LogNorm(FLOOR, max(data["loss"].max(), 10 * FLOOR))
    for ax, part in parts:
        losses = part.pivot_table("loss", "adversarial", "random")
        wrong = part.pivot_table("wrong", "adversarial", "random")
        ax.pcolormesh(losses.columns, losses.index, losses.clip(lower=FLOOR), cmap="viridis", norm=scale)
        if wrong.min().min() < 0.5 < wrong.max().max():
            ax.contour(wrong.columns, wrong.index, wrong, levels=[0.5], colors="white", linewidths=1.5)
        ax.axhline(1, color="white", linewidth=0.8, linestyle=":")
    return drawn


FIGURE = Figure(
    "Mean cross-entropy of the evaluated network on a few validation images moved along the direction of PGD-20 and "
    "along random signs, both in radii of the ball; the dotted line is the ball's edge, and beyond the white line more "
    "than half of the images are misclassified.",
    data="landscape",
    without="no analysed row in this grid",
    draw=draw,
)
