"""Draw RiFT's module robust criticality, a bar per module with the least critical on top."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, panels, spread, style
from cure.core.finding import Finding, untested


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a panel per data set and model, mean and standard deviation over seeds; the fine-tuned module is filled."""
    colour, _, _ = style("rift")
    modules = data.groupby("setting")["module"].nunique().max()
    drawn, parts = panels(data, 6.4, 1.7 + 0.24 * modules)
    for ax, part in parts:
        mean = part.groupby("module", sort=False)[["mrc", "drop"]].mean().sort_values("mrc")
        mean["sd"] = spread(part, ["module"], "mrc")["sd"]
        chosen = set(part[part["chosen"]]["module"])
        for place, (module, line) in enumerate(mean.iterrows()):
            filled: dict[str, Any] = {"color": colour} if module in chosen else {"color": "white", "hatch": "///"}
            ax.barh(place, line["mrc"], edgecolor=colour if module in chosen else "#777777", **filled)
            ax.errorbar([line["mrc"]], [place], xerr=[line["sd"]], color="black", linewidth=0.8)
            told = f" drop {line['drop']:.1f} points" + (", fine-tuned" if module in chosen else "")
            ax.text(max(line["mrc"] + line["sd"], 0), place, told, va="center")
        ax.set_yticks(range(len(mean)), list(mean.index))
        ax.set_ylim(len(mean) - 0.4, -0.6)
        ax.set_xlim(min(0, mean["mrc"].min()), 1.45 * mean["mrc"].max())  # room for the text behind the bars
        ax.set_xlabel(f"module robust criticality (nats of robust loss)\n{_found_by(part.iloc[0])}")
        ax.grid(axis="x", alpha=0.3)
    return drawn


def _found_by(line: pd.Series) -> str:
    """Describe the images and the ascent of a line; the numbers grow with the steps, and so with the images."""
    images = f"{line['images']} images in batches of {line['batch']}, ball of {line['eps']:g} of the weight's norm,"
    return f"{images}\n{line['epochs']} epochs of ascent, {line['steps']} steps of size {line['lr']:g}"


@untested
def concentrated(data: pd.DataFrame) -> tuple[str, bool]:
    """Compare the most critical module with the least critical one."""
    mean = data.groupby("module")["mrc"].mean()
    told = f"{mean.idxmin()} {mean.min():.2f} nats, {mean.idxmax()} {mean.max():.2f} nats"
    return told, bool(mean.max() > 10 * mean.min())


FIGURE = Figure(
    "RiFT's robust criticality of each module, measured on adversarial validation images: how far the robust loss "
    "rises, and accuracy drops, when the module's weights move within their ball. The number of images and the ascent, "
    "which stand below, decide how far; compare criticalities of the same ascent only.",
    data="criticality",
    without="no RiFT row in this grid",
    draw=draw,
    seeds="Mean of {} seeds, whiskers are one standard deviation.",
    findings=(
        Finding(
            "RiFT, Fig. 3",
            "Criticality is concentrated: the most critical module has more than ten times that of the least critical.",
            ("rift",),
            concentrated,
        ),
    ),
)
