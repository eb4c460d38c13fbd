"""Draw the pixels that the loss depends on: the gradient of the loss with respect to the image."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import Figure
from cure.core.names import NAMES
from cure.figures.parts.layout import Lines, album, familiar, picture_row


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a block per data set and model: the images, then a row per method, for the first seed."""
    return album(familiar(data), lambda methods: 0.95 * (1 + methods) + 0.4, _block, columns=2)


def _block(block: SubFigure, runs: Lines, room: int) -> None:
    first = runs[0]
    axes = block.subplots(1 + room, len(first["image"]), squeeze=False)
    picture_row(axes[0], "image", first["image"])
    for ax, label in zip(axes[0], first["label"], strict=True):
        ax.set_title(first["classes"][int(label)])
    for run, row in zip(runs, axes[1:], strict=False):
        summed = run["gradient"].sum(axis=1, keepdims=True)  # over colours: the change of the grey value
        largest = np.abs(summed).max(axis=(1, 2, 3), keepdims=True)
        picture_row(row, str(NAMES.get(run["method"], run["method"])), summed / np.maximum(largest, 1e-12), low=-1.0)
    for ax in axes[1 + len(runs) :].flat:
        ax.set_visible(False)


FIGURE = Figure(
    "Gradient of the cross-entropy with respect to validation images, of those analysed the ones that most methods "
    "classify correctly. Each picture is stretched to its largest value: light pixels raise the loss of the evaluated "
    "network when they become brighter, dark ones when they become darker, and those in the grey of zero leave it.",
    data="pictures",
    without="no analysed row in this grid",
    draw=draw,
    seeds="Of the first of {} seeds.",
)
