"""Draw the gradient conflict: the cosine between the gradients of the clean and the adversarial loss, per layer."""

import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, panels
from cure.figures.parts.layout import legend_below, over_layers


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a panel per data set and model and a line per method, as a mean over seeds."""
    drawn, parts = panels(data, 6.4, 4.6)
    for ax, part in parts:
        over_layers(ax, part, "cosine")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(xlabel="layer", ylabel="cosine (below 0: conflict)")
    legend_below(drawn, ax)
    return drawn


FIGURE = Figure(
    "Cosine between the weight gradients of the cross-entropy on clean and on PGD-20 adversarial validation images, "
    "per layer of the evaluated network in eval mode, mean over mini-batches.",
    data="conflict",
    without="no analysed row in this grid",
    draw=draw,
    seeds="Mean of {} seeds, bars are one standard deviation.",
)
