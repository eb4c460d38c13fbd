"""Draw the share of each layer that CURE's mask updates, in each phase of the training."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, sheet, spread
from cure.core.finding import Finding, untested
from cure.core.names import NAMES
from cure.figures.parts.layout import legend_below, name_layers

PANELS = {
    "network_wide": "updated by a step,\none threshold for the network",
    "moved": "among those that move most\nuntil the next phase",
}
GREYS = ["#d9d9d9", "#8c8c8c", "#262626", "#737373", "#bdbdbd"]


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a row per setting and method, a column per kind of share and a bar per phase, as a mean over seeds."""
    rows = data.groupby(["setting", "method"], sort=False)
    width = min(6.0, max(3.6, 0.8 + 0.12 * rows["layer"].nunique().max()))
    drawn = sheet(width * len(PANELS), 3.3 * rows.ngroups + 0.3)
    grid = drawn.subplots(rows.ngroups, len(PANELS), sharey=True, squeeze=False)
    for axes, (place, part) in zip(grid, rows, strict=True):
        setting, method = map(str, place)
        for ax, (value, words) in zip(axes, PANELS.items(), strict=True):
            _bars(ax, part, value)
            ax.set_title(words)
        axes[0].set_ylabel(f"{NAMES.get(method, method)}, {setting}:\nshare of weights (%)")
    legend_below(drawn, grid[0][0])
    return drawn


def _bars(ax: Axes, part: pd.DataFrame, value: str) -> None:
    names, shares = list(part["layer"].unique()), sorted(part["share"].unique())
    width = 0.8 / len(shares)
    for i, share in enumerate(shares):
        line = 100 * spread(part[part["share"] == share], ["layer"], value).loc[names]
        at = [place + (i - (len(shares) - 1) / 2) * width for place in range(len(names))]
        how: dict[str, Any] = {"color": GREYS[i % len(GREYS)], "edgecolor": "black", "linewidth": 0.5}
        bars = ax.bar(at, line["mean"], width, yerr=line["sd"] if line["sd"].any() else None, **how)
        bars.set_label(f"{share:.0%} of the training")
    name_layers(ax.xaxis, names, most=20)
    ax.tick_params(axis="x", rotation=90)
    ax.set_ylim(0, 105)
    ax.grid(axis="y", alpha=0.3)


@untested
def kinds(data: pd.DataFrame) -> tuple[str, bool]:
    """Compare batch norms with convolutions under the network's threshold, as a mean over layers and phases."""
    own = data[data["method"] == "cure"]
    norm, conv = (100 * own[own["dims"] == dims]["network_wide"].mean() for dims in (1, 4))
    told = f"threshold of the network: batch norms {norm:.0f} %, convolutions {conv:.0f} %"
    return told, bool(norm > conv)


@untested
def late_middle(data: pd.DataFrame) -> tuple[str, bool]:
    """Compare the middle third of the convolutions with the first and the last third, in the last phase."""
    own = data[(data["method"] == "cure") & (data["dims"] == 4)]
    line = own[own["share"] == own["share"].max()].groupby("layer", sort=False)["network_wide"].mean()
    third = max(1, len(line) // 3)
    ends = slice(third), slice(third, len(line) - third), slice(len(line) - third, None)
    first, middle, last = (float(100 * line.iloc[part].mean()) for part in ends)
    told = f"convolutions at the end, threshold of the network: first third {first:.0f} %, middle {middle:.0f} %, last "
    return f"{told}{last:.0f} %", middle > max(first, last)


FIGURE = Figure(
    "Share of each layer's weights that a training step of CURE updates under one threshold for the network, and that "
    "are among the most moved weights until the next phase, at the start, the middle and the end of the training, on "
    "validation images. A threshold per tensor, CURE's own, updates the same share of every layer. A weight that is "
    "not updated still moves by momentum and weight decay.",
    data="rgp",
    without="no analysed row has a gradient mask",
    draw=draw,
    seeds="Mean of {} seeds, bars are one standard deviation.",
    findings=(
        Finding("CURE, Figs. 6b and 10", "Batch norms are updated more than convolutions.", ("cure",), kinds),
        Finding(
            "CURE, Figs. 6b and 10",
            "In the last phase the middle layers are updated most.",
            ("cure",),
            late_middle,
        ),
    ),
)
