"""Draw the size of training gradients, per convolution and phase of the training."""

import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, sheet
from cure.core.finding import Finding, untested
from cure.figures.parts.layout import legend_below, over_layers


def convolutions(data: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of convolutions, which every method trains; batch norms may be split."""
    return data[data["dims"] == 4]


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a row per data set and model and a panel per phase, as a mean over seeds."""
    data = convolutions(data)
    settings, shares = data["setting"].unique(), sorted(data["share"].unique())
    drawn = sheet(3.4 * len(shares), 3.6 * len(settings) + 0.4)
    rows = drawn.subplots(len(settings), len(shares), sharey="row", squeeze=False)
    for row, setting in zip(rows, settings, strict=True):
        for ax, share in zip(row, shares, strict=True):
            over_layers(ax, data[(data["setting"] == setting) & (data["share"] == share)], "magnitude")
            ax.set(yscale="log", xlabel="convolution")
            ax.set_title(f"{setting}, {share:.0%} of the training")
        row[0].set_ylabel("mean |gradient| of a weight")
    legend_below(drawn, rows[0][0])
    return drawn


@untested
def smaller(data: pd.DataFrame) -> tuple[str, bool]:
    """Compare CURE with AT, per layer and phase."""
    table = convolutions(data).pivot_table("magnitude", ["share", "layer"], "method")
    ratio = table["cure"] / table["at"]
    below = int((ratio < 1).sum())
    told = f"CURE / AT: median {ratio.median():.2f}, below 1 in {below} of {len(ratio)} layers and phases"
    return told, bool(ratio.median() < 1)


FIGURE = Figure(
    "Mean absolute gradient of a training step per convolution, each method with its own attack, loss and mask, at the "
    "start, the middle and the end of its training, on the same unaugmented validation images.",
    data="gradients",
    without="no analysed row in this grid",
    draw=draw,
    seeds="Mean of {} seeds, bars are one standard deviation.",
    findings=(Finding("CURE, Fig. 6a", "CURE's gradients are smaller than AT's.", ("cure", "at"), smaller),),
)
