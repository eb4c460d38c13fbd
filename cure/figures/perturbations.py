"""Draw the smallest perturbations that change a prediction: clean image, perturbation and adversarial image."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import Figure
from cure.core.names import NAMES
from cure.figures.parts.layout import Lines, album, familiar, picture_row


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a block per data set and model: the images, then two rows per method with eps, for the first seed."""
    return album(familiar(data), lambda methods: 1.0 * (1 + 2 * methods) + 0.4, _block, columns=2)


def _block(block: SubFigure, runs: Lines, room: int) -> None:
    first = runs[0]
    axes = block.subplots(1 + 2 * room, len(first["image"]), squeeze=False)
    picture_row(axes[0], "image", first["image"])
    for ax, label in zip(axes[0], first["label"], strict=True):
        ax.set_title(first["classes"][int(label)])
    for run, ways, targets in zip(runs, axes[1::2], axes[2::2], strict=False):
        sizes = run["distance"]
        changes = (run["adversarial"] - run["image"]) / np.fmax(sizes, 1e-12)[:, None, None, None]
        picture_row(ways, f"{NAMES.get(run['method'], run['method'])}:\nperturbation", changes / 2 + 0.5)
        picture_row(targets, "adversarial", run["adversarial"])
        for way, target, eps, seen in zip(ways, targets, sizes, run["fooled"], strict=True):
            way.set_xlabel("none found" if np.isnan(eps) else f"eps {eps:.3f}")
            target.set_xlabel(f"seen as {run['classes'][int(seen)]}")
    for ax in axes[1 + 2 * len(runs) :].flat:
        ax.set_visible(False)


FIGURE = Figure(
    "Validation images, of those analysed the ones that most methods classify correctly; the smallest L-inf "
    "perturbation that FMN finds for each evaluated network, stretched to black and white, with its size in units of "
    "the image range; and the image that it makes. An eps of 0 belongs to an image that is misclassified as it is.",
    data="pictures",
    without="no analysed row in this grid",
    draw=draw,
    seeds="Of the first of {} seeds.",
)
