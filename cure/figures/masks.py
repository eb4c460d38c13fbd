"""What PART attacks with the full radius: validation images, their class activation maps and the masks made of them."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import Figure, sheet
from cure.core.names import NAMES

ROWS = ["image", "class activation\nmap", "mask: white has\nthe full radius"]


def draw(data: pd.DataFrame) -> Sheet:
    """A block for each data set and model, a column for each image; of the first seed."""
    cells = data.drop_duplicates(["setting", "method"]).to_dict("records")
    images = max(len(cell["image"]) for cell in cells)
    drawn = sheet(1.3 + 1.25 * images, 4.6 * len(cells))
    for block, cell in zip(drawn.subfigures(len(cells), 1, squeeze=False)[:, 0], cells, strict=True):
        _block(block, cell)
    return drawn


def _block(block: SubFigure, cell: dict[Any, Any]) -> None:
    pictures = cell["image"], cell["map"], cell["full"]
    axes = block.subplots(len(ROWS), len(cell["image"]), squeeze=False)
    for row, name, stack in zip(axes, ROWS, pictures, strict=True):
        for ax, picture in zip(row, stack, strict=True):
            ax.imshow(picture.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)  # the colours of colour images stay
            ax.set_xticks([])
            ax.set_yticks([])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for ax, label, predicted in zip(axes[0], cell["label"], cell["predicted"], strict=True):
        true, seen = (cell["classes"][int(number)] for number in (label, predicted))
        ax.set_title(true if label == predicted else f"{true},\nseen as {seen}", fontsize=8)
    block.suptitle(f"{NAMES.get(cell['method'], cell['method'])}, {cell['setting']}", fontsize="medium")


FIGURE = Figure(
    "Validation images, the trained PART network's class activation maps, and where its attack has the full radius; "
    "the black pixels have the lower one.",
    data="masks",
    without="no analysed row has masks",
    draw=draw,
)
