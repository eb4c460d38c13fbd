"""Draw the layer-wise study: natural and robust accuracy if adversarial training updates some blocks only."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, panels
from cure.core.finding import Claim, Finding, Verdict, outcomes
from cure.core.names import block_set

MEASURES = {"clean": ("natural accuracy", "#c8c8c8", ""), "pgd": ("PGD accuracy", "#0072b2", "///")}


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a panel per data set, model and variant, with two bars per block set: means over seeds."""
    drawn, parts = panels(data, 6.6, 4.2)
    for ax, part in parts:
        for place, measure in enumerate(MEASURES):
            _bars(ax, part, measure, 0.4 * (place - 0.5))
        names = list(part["method"].unique())
        ax.set_xticks(range(len(names)), [block_set(name) for name in names])
        told = f"{part['images'].iloc[0]} images, {part['epochs'].iloc[0]} epochs"
        ax.set_title(f"{part['setting'].iloc[0]} ({told})")
        ax.set(xlabel="blocks that adversarial training updates", ylabel="validation accuracy (%)")
        highest = max(part[f"{measure}_high"].max() for measure in MEASURES)
        ax.set(ylim=(0, 1.19 * highest), yticks=range(0, math.ceil(highest) + 1, 20))  # with room for the legend
        ax.grid(axis="y", alpha=0.3)
        ax.legend(loc="upper right", ncols=2, frameon=False)
    return drawn


def _bars(ax: Axes, part: pd.DataFrame, measure: str, shift: float) -> None:
    label, colour, hatch = MEASURES[measure]
    each = part.groupby("method", sort=False)
    mean, ends = each[measure].mean(), (each[f"{measure}_low"].min(), each[f"{measure}_high"].max())
    if part["seed"].nunique() > 1:
        ends = each[measure].min(), each[measure].max()
    places = [i + shift for i in range(len(mean))]
    ax.bar(places, mean, 0.4, label=label, color=colour, hatch=hatch, edgecolor="white" if hatch else "#777777")
    whiskers = [(mean - ends[0]).clip(lower=0), (ends[1] - mean).clip(lower=0)]
    ax.errorbar(places, mean, yerr=whiskers, fmt="none", ecolor="black", elinewidth=1, capsize=2)
    if "all" in mean.index:
        ax.axhline(mean["all"], color="black", linewidth=0.8, linestyle=":")


def _told(data: pd.DataFrame, names: tuple[str, ...]) -> str:
    """Return natural and PGD accuracy of some block sets as a phrase, means over seeds."""
    mean = data.groupby("method")[["clean", "pgd"]].mean()
    each = [f"{block_set(name)} {mean['clean'][name]:.1f} / {mean['pgd'][name]:.1f} %" for name in names]
    return f"natural / PGD of {data['images'].iloc[0]} images: " + ", ".join(each)


def _claims(data: pd.DataFrame, better: str, worse: str, measures: tuple[str, ...] = ("clean", "pgd")) -> list[Claim]:
    columns = [f"{measure}_outcome" for measure in measures]
    return [Claim(outcomes(data, better, column), outcomes(data, worse, column)) for column in columns]


def first_block(data: pd.DataFrame) -> Verdict:
    """Compare the natural accuracy of U-1 with that of the other single blocks."""
    claims = [claim for other in SINGLE[1:] for claim in _claims(data, other, "u1", ("clean",))]
    return _told(data, ("natural", *SINGLE)), claims


def middle_blocks(data: pd.DataFrame) -> Verdict:
    """Compare U-23 with an update of all parts."""
    return _told(data, ("u23", "all")), _claims(data, "u23", "all")


def early_blocks(data: pd.DataFrame) -> Verdict:
    """Compare U-1, U-2 and U-12 with an update of all parts."""
    return _told(data, (*EARLY, "all")), [claim for early in EARLY for claim in _claims(data, "all", early)]


SINGLE, EARLY = ("u1", "u2", "u3", "u4"), ("u1", "u2", "u12")
SOURCE = "CURE, Fig. 2b and 11"
FIGURE = Figure(
    "Natural and PGD accuracy on the validation split after the last epoch, when adversarial training updates the "
    "named blocks of the natural network (ST) and the rest stays frozen; whiskers are 95 % intervals (with several "
    "seeds the lowest and the highest), dotted lines the level of all parts updated.",
    data="layers",
    without="no model under grid.layers",
    draw=draw,
    findings=(
        Finding(
            f"{SOURCE}, authors' replies",
            "Of single blocks, updating the first costs most natural accuracy: about 45 % remain of about 95 %.",
            ("natural", *SINGLE),
            first_block,
        ),
        Finding(
            SOURCE,
            "Updating blocks 2 and 3 alone gives more natural and more robust accuracy than updating everything.",
            ("u23", "all"),
            middle_blocks,
        ),
        Finding(
            SOURCE,
            "Updates of early blocks alone (1, 2, 12) hurt natural and robust accuracy.",
            (*EARLY, "all"),
            early_blocks,
        ),
    ),
)
