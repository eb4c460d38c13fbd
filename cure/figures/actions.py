"""Draw the choices of LAS-AT's strategy network: radius, step size, number of steps, and LAS-TRADES' beta."""

import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import LINES, Figure, sheet, spread, style
from cure.core.names import NAMES

AXES = {
    "chosen_eps": "radius eps (image range: 1)",
    "chosen_step": "step size (image range: 1)",
    "chosen_steps": "number of steps",
    "chosen_beta": "beta, the weight of the KL",
}


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a panel per kind of action and a line per data set and model: mean and standard deviation over seeds."""
    axes = {action: words for action, words in AXES.items() if action in data}
    drawn = sheet(3.6 * len(axes), 3.0)
    for ax, (action, words) in zip(drawn.subplots(1, len(axes)), axes.items(), strict=True):
        for setting, dash in zip(data["setting"].unique(), LINES, strict=False):
            line, colour = spread(data[data["setting"] == setting], ["epoch"], action), style("las_at")[0]
            mean, sd = line["mean"], line["sd"]  # empty for a row without beta
            ax.plot(line.index, mean, linestyle=dash, color=colour, label=f"{NAMES['las_at']}, {setting}")
            ax.fill_between(line.index, mean - sd, mean + sd, color=colour, alpha=0.25, lw=0)
        ax.set(xlabel="epoch", ylabel=words, ylim=(0, 1.25 * data[action].max()))
        ax.locator_params(axis="x", integer=True)
        ax.grid(alpha=0.3)
    drawn.legend(*drawn.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return drawn


FIGURE = Figure(
    "What LAS-AT's strategy network chose in each epoch, as a mean over all training images.",
    data="actions",
    without="no LAS-AT row in this grid",
    draw=draw,
    seeds="Mean of {} seeds, bands are one standard deviation.",
)
