"""Draw the distance between the adversarial and the clean representation of an image, per layer."""

import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, panels
from cure.figures.parts.layout import legend_below, over_layers


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a panel per data set and model and a line per method, as a mean over seeds."""
    drawn, parts = panels(data, 6.4, 4.6)
    for ax, part in parts:
        over_layers(ax, part, "distance")
        ax.set_yscale("log")
        ax.set(xlabel="batch norm", ylabel="1 - cosine of clean and adversarial")
    legend_below(drawn, ax)
    return drawn


FIGURE = Figure(
    "Distance that AR-AT regularises, 1 - cos of the pooled representations of a validation image and its PGD-20 "
    "adversarial one, at every batch norm of the evaluated network, mean over images.",
    data="distance",
    without="no analysed row in this grid",
    draw=draw,
    seeds="Mean of {} seeds, bars are one standard deviation.",
)
