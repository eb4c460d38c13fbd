"""Draw accuracy under common corruptions as a map of numbers: methods in rows, corruptions in columns."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, sheet
from cure.core.finding import Claim, Finding, Verdict, accuracies
from cure.core.names import NAMES


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a map per data set and model: the mean over severities, then mean and standard deviation over seeds."""
    settings, names = list(data["setting"].unique()), list(data["corruption"].unique())
    rows = data["method"].nunique()
    drawn = sheet(1.6 + 0.62 * len(names), (0.3 * rows + 1.7) * len(settings))
    for ax, setting in zip(drawn.subplots(len(settings), 1, squeeze=False)[:, 0], settings, strict=True):
        part = data[data["setting"] == setting]
        methods = list(part["method"].unique())
        of_seeds = part.groupby(["method", "corruption", "seed"])["accuracy"].mean().reset_index()
        table = of_seeds.pivot_table("accuracy", "method", "corruption").loc[methods, names]
        spread = of_seeds.groupby(["method", "corruption"])["accuracy"].std().dropna()  # empty for a single seed
        ax.imshow(table, cmap="Greys", vmin=0, vmax=200, aspect="auto")  # so light that black numbers are readable
        for (row, column), value in np.ndenumerate(table):
            sd = spread.get((methods[row], names[column]))
            told = f"{value:.0f}" if sd is None else f"{value:.0f} ±{sd:.1f}"
            ax.text(column, row, told, ha="center", va="center")
        ax.set_yticks(range(len(methods)), [NAMES.get(method, method) for method in methods])
        labels = [name.replace("_", " ") for name in names]
        ax.set_xticks(range(len(names)), labels, rotation=35, ha="right", rotation_mode="anchor")
        ax.set_title(f"{setting}: accuracy (%)")
    return drawn


def ahead(data: pd.DataFrame) -> Verdict:
    """Compare CURE with the three baselines of the paper's figure at its severity, 3."""
    part, images, names = data[data["severity"] == 3], int(data["images"].iloc[0]), ("cure", "at", "trades", "mart")
    means = part.groupby("method")["accuracy"].mean()
    told = ", ".join(f"{NAMES[method]} {means[method]:.1f} %" for method in names)
    cure, *others = ((accuracies(part, method, "accuracy"), images) for method in names)
    return f"at severity 3, {images} images: {told}", [Claim(cure, other) for other in others]


def raised(data: pd.DataFrame) -> Verdict:
    """Compare RiFT with the AT networks that it fine-tunes, over all severities."""
    images, means = int(data["images"].iloc[0]), data.groupby("method")["accuracy"].mean()
    rift, at = ((accuracies(data, method, "accuracy"), images) for method in ("rift", "at"))
    told = f"mean over severities, {images} images: RiFT {means['rift']:.2f} %, AT {means['at']:.2f} %"
    return told, [Claim(rift, at, same_runs=True)]


FIGURE = Figure(
    "Accuracy on corrupted test images in percent, mean over severities; darker is better.",
    data="corruptions",
    without="no row in this grid",
    draw=draw,
    seeds="Mean of {} seeds ± one standard deviation.",
    findings=(
        Finding(
            "CURE, Fig. 7",
            "CURE keeps more accuracy under common corruptions of severity 3 than AT, TRADES and MART.",
            ("cure", "at", "trades", "mart"),
            ahead,
        ),
        Finding(
            "RiFT, Table 1",
            "Fine-tuning AT's least critical module raises its accuracy under common corruptions, by about 1.5 points.",
            ("rift", "at"),
            raised,
        ),
    ),
)
