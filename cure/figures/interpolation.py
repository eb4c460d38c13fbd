"""Draw RiFT's interpolation between its robust and its fine-tuned network, for three treatments of batch norm."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, panels
from cure.core.finding import Claim, Finding, Verdict, accuracies

WORDS = {"update": "statistics updated", "freeze": "statistics frozen", "bn_only": "statistics alone"}
LOOKS = {  # colour, line, marker, and size of the ring, so that rings at one point do not overlap
    "update": ("#009e73", "-", "^", 18),
    "freeze": ("#d55e00", "--", "s", 14),
    "bn_only": ("#444444", ":", "o", 11),
}


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a panel per data set and model, with eleven points for each treatment: mean and sd over seeds."""
    drawn, parts = panels(data, 6.0, 5.0)
    for ax, part in parts:
        for variant in part["variant"].unique():
            _way(ax, variant, part[part["variant"] == variant])
        start = part[part["a"] == 0][["clean", "pgd"]].mean()
        ax.plot(start["clean"], start["pgd"], "*", color="black", markersize=13, label="a = 0: the robust network")
        ax.set(xlabel="clean validation accuracy (%)", ylabel="validation PGD accuracy (%)")
        ax.margins(0.08)
        ax.grid(alpha=0.3)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    return drawn


def _way(ax: Axes, variant: str, part: pd.DataFrame) -> None:
    colour, dash, marker, size = LOOKS[variant]
    points = part.groupby("a")[["clean", "pgd"]].mean()
    chosen = part[part["chosen"]]
    told = ", ".join(f"{a:.1f}" for a in sorted(chosen["a"].unique()))
    exported = " (exported)" if part["exported"].any() else ""
    doubt = f"another in {part['another'].mean():.0f} %, too weak in {part['weaker'].mean():.0f} %"
    label = f"{WORDS[variant]}; chosen a = {told}{exported}: {doubt}"
    ax.plot(points["clean"], points["pgd"], dash, marker=marker, markersize=5, color=colour, label=label)
    spread = part.groupby("a")[["clean", "pgd"]].std()  # empty for a single seed
    ax.errorbar(points["clean"], points["pgd"], spread["pgd"], spread["clean"], "none", ecolor=colour, alpha=0.3)
    ring: dict[str, Any] = {
        "markersize": size,
        "markerfacecolor": "none",
        "markeredgecolor": colour,
        "markeredgewidth": 1.6,
    }
    ax.plot(points["clean"][chosen["a"]], points["pgd"][chosen["a"]], marker, **ring)


def early_gain(data: pd.DataFrame) -> Verdict:
    """Compare PGD accuracy at the start of the exported interpolation with the most in its first half."""
    variant = data[data["exported"]]["variant"]
    exported = data[data["variant"].isin(variant)]
    way = exported.groupby("a")["pgd"].mean()
    first = way[(way.index > 0) & (way.index <= 0.5)]
    images = int(data["images"].iloc[0])
    told = f"PGD {way[0]:.2f} % at a = 0, {first.max():.2f} % at a = {first.idxmax():.1f}, of {images} images"
    better, start = ((accuracies(exported[exported["a"] == a], "rift", "pgd"), images) for a in (first.idxmax(), 0))
    return told, [Claim(better, start, same_runs=True)]


FIGURE = Figure(
    "Clean and PGD accuracy on the validation split of the eleven interpolations between RiFT's robust and its "
    "fine-tuned network; rings mark the chosen ones. Shares are of resampled validation images: how often they choose "
    "another point, and how often they find the chosen one further below the robust network than allowed.",
    data="interpolation",
    without="no RiFT row in this grid",
    draw=draw,
    seeds="Mean of {} seeds, bars are one standard deviation.",
    findings=(
        Finding(
            "RiFT, interpolation figure",
            "The first steps towards the fine-tuned network raise robust accuracy too, by about 0.3 points.",
            ("rift",),
            early_gain,
        ),
    ),
)
