"""Draw the overlap of the weights that CURE's mask selects, between batches and between phases."""

import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure
from cure.figures.parts.layout import tiles


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a map per method, phases by phases: the mean over layers with its deviation over seeds, and chance below."""
    drawn, parts = tiles(data, 4.2, 3.6, x="share of the training", y="share of the training")
    for ax, part in parts:
        each = part.groupby(["share", "other", "seed"])[["jaccard", "chance"]].mean()
        means = each.groupby(["share", "other"]).mean()
        means["sd"] = each.groupby(["share", "other"])["jaccard"].std()  # empty for a single seed
        table, shares = means["jaccard"].unstack(), sorted(part["share"].unique())
        ax.imshow(table, cmap="Greys", vmin=0.4, vmax=1.4, origin="lower")  # so light that black numbers are readable
        for line in means.reset_index().to_dict("records"):
            sd = f" ±{line['sd']:.2f}" if line["sd"] >= 0 else ""
            told = f"{line['jaccard']:.2f}{sd}\n(chance {line['chance']:.2f})" if line["jaccard"] >= 0 else "-"
            place = shares.index(line["other"]), shares.index(line["share"])
            ax.text(*place, told, ha="center", va="center")
        names = [f"{share:.0%}" for share in shares]
        ax.set_xticks(range(len(shares)), names)
        ax.set_yticks(range(len(shares)), names)
    return drawn


FIGURE = Figure(
    "Jaccard overlap of the masks of training steps at two moments of the training on the same validation batch, and "
    "on the diagonal of two successive batches at one moment; mean over layers, beside that of independent masks; "
    "a dash where the method has no mask yet, or there is one batch.",
    data="overlap",
    without="no analysed row has a gradient mask",
    draw=draw,
    seeds="Mean of {} seeds ± one standard deviation.",
)
