"""Draw linear CKA between clean and adversarial representations in each network, for all pairs of layers."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure
from cure.core.finding import Finding, untested
from cure.figures.parts.layout import name_layers, tiles


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a map per method, as a mean over seeds."""
    drawn, parts = tiles(data, 2.6, 3.3, x="layer, on clean images", y="layer, on adversarial images", bar="CKA")
    for ax, part in parts:
        names = list(part["clean_layer"].unique())
        table = part.pivot_table("cka", "adversarial_layer", "clean_layer").loc[names, names]
        ax.imshow(table, cmap="viridis", vmin=0, vmax=1, origin="lower")
        for axis in (ax.xaxis, ax.yaxis):
            name_layers(axis, names)
        ax.tick_params(axis="x", rotation=90)
    return drawn


def same_layer(data: pd.DataFrame) -> pd.DataFrame:
    """Return each layer's CKA between clean and adversarial images (methods, layers), as a mean over seeds."""
    own = data[data["clean_layer"] == data["adversarial_layer"]]
    return own.pivot_table("cka", "method", "clean_layer", sort=False)


@untested
def dissimilar(data: pd.DataFrame) -> tuple[str, bool]:
    """Compare the natural network's same-layer similarity with AT's."""
    mean = same_layer(data).mean(axis=1)
    told = f"same-layer CKA, mean over layers: Natural {mean['natural']:.3f}, AT {mean['at']:.3f}"
    return told, bool(mean["natural"] < mean["at"])


@untested
def diverging(data: pd.DataFrame) -> tuple[str, bool]:
    """Compare the first third of AT's layers with its last third."""
    line = same_layer(data).loc["at"].to_numpy()
    third = max(1, len(line) // 3)
    early, late = np.mean(line[:third]), np.mean(line[-third:])
    told = f"same-layer CKA of AT: first third of layers {early:.3f}, last third {late:.3f}"
    return told, bool(late < early)


@untested
def between(data: pd.DataFrame) -> tuple[str, bool]:
    """Compare the same-layer similarity of natural training, CURE and AT, as a mean over layers."""
    mean = same_layer(data).mean(axis=1)
    natural, cure, at = mean[["natural", "cure", "at"]]
    told = f"same-layer CKA, mean over layers: Natural {natural:.3f}, CURE {cure:.3f}, AT {at:.3f}"
    return told, bool(natural < cure < at)


FIGURE = Figure(
    "Linear CKA (unbiased, averaged over mini-batches) between the representations of clean and of PGD-20 adversarial "
    "validation images in the same evaluated network, for every pair of layers; the diagonal compares a layer with "
    "itself.",
    data="cka",
    without="no analysed row in this grid",
    draw=draw,
    findings=(
        Finding(
            "CURE, Fig. 3",
            "In a naturally trained network clean and adversarial representations are dissimilar.",
            ("natural", "at"),
            dissimilar,
        ),
        Finding(
            "CURE, Fig. 3",
            "In an adversarially trained network they are similar in early layers and diverge towards the end.",
            ("at",),
            diverging,
        ),
        Finding(
            "CURE, Fig. 3",
            "CURE's similarity lies between those of natural and adversarial training.",
            ("natural", "cure", "at"),
            between,
        ),
    ),
)
