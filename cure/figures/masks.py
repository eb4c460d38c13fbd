"""Draw the regions that PART attacks with the full radius: images, class activation maps and the masks made of them."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import Figure
from cure.core.names import NAMES
from cure.figures.parts.layout import Lines, album, picture_row

ROWS = {
    "image": "image",
    "map": "class activation\nmap",
    "full": "mask: white has\nthe full radius",
}


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a block per data set and model, three rows per method and a column per image, for the first seed."""
    return album(data, lambda methods: 4.6 * methods, _block)


def _block(block: SubFigure, runs: Lines, room: int) -> None:
    for part, run in zip(block.subfigures(room, 1, squeeze=False)[:, 0], runs, strict=True):
        _part(part, run)


def _part(part: SubFigure, run: dict[Any, Any]) -> None:
    axes = part.subplots(len(ROWS), len(run["image"]), squeeze=False)
    for row, (key, name) in zip(axes, ROWS.items(), strict=True):
        picture_row(row, name, run[key])
    for ax, label, predicted in zip(axes[0], run["label"], run["predicted"], strict=True):
        true, seen = (run["classes"][int(number)] for number in (label, predicted))
        ax.set_title(true if label == predicted else f"{true},\nseen as {seen}")
    part.suptitle(NAMES.get(run["method"], run["method"]))


FIGURE = Figure(
    "Validation images, the trained PART network's class activation maps, and where its attack has the full radius; "
    "the black pixels have the lower one.",
    data="masks",
    without="no analysed row has masks",
    draw=draw,
    seeds="Of the first of {} seeds.",
)
