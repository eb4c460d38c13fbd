"""Draw accuracy against the radius of the attack: a panel per method, with all others in grey."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import ACROSS, Figure, columns, marker, multiples, sheet, spread, style
from cure.core.finding import Claim, Finding, Verdict, outcomes
from cure.core.names import NAMES


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a block per data set, model and column: the mean over seeds, with a band of one standard deviation."""
    parts = list(data.groupby(["setting", "column"], sort=False))
    methods = data["method"].nunique()
    across = columns(methods, ACROSS)
    drawn = sheet(2.0 * across, (1.8 * -(-methods // across) + 0.6) * len(parts))
    for block, ((setting, _), part) in zip(drawn.subfigures(len(parts), 1, squeeze=False)[:, 0], parts, strict=True):
        block.suptitle(setting)
        _block(block, part)
    return drawn


def _block(block: SubFigure, part: pd.DataFrame) -> None:
    found, eps = spread(part, ["method", "radius"], "accuracy"), part["eps"].iloc[0]
    lines: dict[str, Any] = {method: found.loc[method] for method in found.index.unique("method")}
    titles = {method: f"{NAMES.get(method, method)}: {line['mean'][eps]:.0f} %" for method, line in lines.items()}

    names = "radius of the L-inf ball (image range: 1)", "accuracy (%)"
    for ax, method in multiples(block, {method: line["mean"] for method, line in lines.items()}, titles, names):
        line, colour = lines[method], style(method)[0]
        ax.fill_between(
            line.index, line["mean"] - line["sd"], line["mean"] + line["sd"], color=colour, alpha=0.25, lw=0
        )
        ax.axvline(eps, color="black", linewidth=0.8, linestyle=":")
        ax.plot([eps], [line["mean"][eps]], marker(method), color=colour, markersize=5)
        ax.set(xlim=(0, line.index.max()), ylim=(0, 100))


def ahead(data: pd.DataFrame) -> Verdict:
    """Compare CURE with the three baselines of the paper's figure, at every radius above 0."""
    means = data[data["radius"] > 0].pivot_table("accuracy", "radius", "method")
    others = means[["at", "trades", "mart"]].max(axis=1)
    first = means.index[means["cure"] <= others]
    told = f"CURE is ahead at {len(means) - len(first)} of {len(means)} radii"
    claims = [
        Claim(outcomes(part, "cure", "outcome"), outcomes(part, other, "outcome"))
        for _, part in data[data["radius"] > 0].groupby("radius")
        for other in ("at", "trades", "mart")
    ]
    images = f" ({len(data['outcome'].iloc[0])} images)"
    return told + (f", not at {first[0]:.3g}" if len(first) else "") + images, claims


FIGURE = Figure(
    "Accuracy on test images within each radius, by the smallest perturbations found; in the titles the accuracy at "
    "eps, the dotted line.",
    data="survival",
    without="no column of smallest L-inf perturbations in attack.columns",
    draw=draw,
    seeds="Mean of {} seeds, bands are one standard deviation.",
    findings=(
        Finding(
            "CURE, Fig. 5b",
            "At every radius of the attack CURE keeps more accuracy than AT, TRADES and MART.",
            ("cure", "at", "trades", "mart"),
            ahead,
        ),
    ),
)
