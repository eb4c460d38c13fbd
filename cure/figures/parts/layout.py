"""Lay out figures of networks: lines over layers, a panel per method, and albums of pictures."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.figure import FOREMOST, columns, leave, marker, sheet, spread, style
from cure.core.names import NAMES

MOST = 5  # images that stand side by side


def name_layers(axis: Axis, names: list[str], most: int = 12) -> None:
    """Name layers at ticks 0, 1, ...; name only evenly spaced ones of a deep network, so that names do not overlap."""
    ticks = range(0, len(names), -(-len(names) // most))
    axis.set_ticks(list(ticks), [names[i] for i in ticks])


def over_layers(ax: Axes, data: pd.DataFrame, value: str) -> None:
    """Draw a line over layers per method, with bars of one standard deviation if there are several seeds.

    Lines are thin and markers hollow, so that the methods of FOREMOST, which are drawn on top, differ from a line
    below.
    """
    names = list(data["layer"].unique())
    for method in data["method"].unique():
        colour, dash, _ = style(method)
        line = spread(data[data["method"] == method], ["layer"], value)
        at, bars = [names.index(layer) for layer in line.index], line["sd"] if line["sd"].any() else None
        label = NAMES.get(method, method)
        look: dict[str, Any] = {"markersize": 8, "markerfacecolor": "white", "linewidth": 1.2, "zorder": 2.1}
        if method in FOREMOST:
            look = {"markersize": 5, "markeredgecolor": "black", "linewidth": 2, "zorder": 2.2}
        ax.errorbar(at, line["mean"], bars, color=colour, linestyle=dash, marker=marker(method), label=label, **look)
    name_layers(ax.xaxis, names)
    ax.tick_params(axis="x", rotation=90)
    ax.grid(alpha=0.3)


def picture_row(row: Iterable[Axes], name: str, pictures: Any, low: float = 0.0) -> None:
    """Show pictures side by side, with their name on the left; a picture with one channel is grey.

    Args:
        row: a panel for each picture.
        name: text at the left of the row.
        pictures: arrays (c, h, w) with values from `low` to 1.
        low: the value that is drawn black.
    """
    for i, (ax, picture) in enumerate(zip(row, pictures, strict=True)):
        ax.imshow(picture.transpose(1, 2, 0).clip(low, 1), cmap="gray", vmin=low, vmax=1)
        ax.set(xticks=[], yticks=[])
        if i == 0:
            ax.set_ylabel(name, rotation=0, ha="right", va="center")


def familiar(data: pd.DataFrame) -> pd.DataFrame:
    """Keep the first seed, and of each data set and model the MOST images that most methods classify correctly.

    A misclassified image has no smallest perturbation, and its gradient shows a lost case.
    """
    parts = []
    for _, part in data.drop_duplicates(["setting", "method"]).groupby("setting", sort=False):
        correct = (np.stack(part["predicted"].to_list()) == np.stack(part["label"].to_list())).sum(axis=0)
        rows = np.sort(np.argsort(-correct, kind="stable")[:MOST])
        parts.append(part.map(lambda cell, rows=rows: cell[rows] if isinstance(cell, np.ndarray) else cell))
    return pd.concat(parts)


Lines = list[dict[Any, Any]]


def album(
    data: pd.DataFrame, height: Callable[[int], float], fill: Callable[[SubFigure, Lines, int], None], columns: int = 1
) -> Sheet:
    """Return a sheet with a block per data set and model, which shows pictures of each method for the first seed.

    Args:
        data: one line per run, with a column for each array of pictures.
        height: returns the inches of a block with room for this many methods per column.
        fill: draws a column: gets its part of the sheet, the lines of its methods, and how many methods it has room
            for.
        columns: how many columns share the methods of a block.
    """
    runs = data.drop_duplicates(["setting", "method"])
    groups = [(setting, part.to_dict("records")) for setting, part in runs.groupby("setting", sort=False)]
    rooms = [-(-len(part) // columns) for _, part in groups]
    heights, images = [height(room) for room in rooms], max(map(len, runs["image"]))
    drawn = sheet((1.4 + 0.95 * images) * columns, sum(heights))
    blocks = drawn.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for block, (setting, part), room in zip(blocks, groups, rooms, strict=True):
        block.suptitle(setting)
        for i, column in enumerate(block.subfigures(1, columns, squeeze=False)[0]):
            if mine := part[i * room : (i + 1) * room]:
                fill(column, mine, room)
    return drawn


def legend_below(drawn: Sheet, ax: Axes) -> None:
    """Put a legend with the entries of one panel, which hold for all panels, under the sheet."""
    how: dict[str, Any] = {"loc": "outside lower center", "ncols": 5, "frameon": False}
    drawn.legend(*ax.get_legend_handles_labels(), **how)


def tiles(
    data: pd.DataFrame, width: float, height: float, *, x: str, y: str, across: int = 4, bar: str = ""
) -> tuple[Sheet, Iterator[tuple[Axes, pd.DataFrame]]]:
    """Return a sheet with a panel per method, in a block per data set and model, and an iterator over the panels.

    Args:
        data: the figure's table.
        width: inches of a panel.
        height: inches of a panel.
        x: label of the x-axis that all panels share.
        y: label of the y-axis that all panels share.
        across: the most panels in one row.
        bar: label of the colour bar of the maps; empty for none.

    Returns:
        The sheet, and pairs of a panel and its part of the table. The sheet is complete once the iterator is exhausted.
    """
    settings, most = list(data["setting"].unique()), data.groupby("setting")["method"].nunique().max()
    across = columns(int(most), across)
    down = -(-most // across)
    drawn = sheet(width * across, (height * down + 0.3) * len(settings))

    def each() -> Iterator[tuple[Axes, pd.DataFrame]]:
        for block, setting in zip(drawn.subfigures(len(settings), 1, squeeze=False)[:, 0], settings, strict=True):
            part = data[data["setting"] == setting]
            methods = list(part["method"].unique())
            axes = list(block.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
            for ax, method in zip(axes, methods, strict=False):
                ax.set_title(NAMES.get(method, method))
                yield ax, part[part["method"] == method]
            leave(axes, len(methods), across)
            if bar:
                last = axes[len(methods) - 1]
                block.colorbar([*last.images, *last.collections][0], ax=axes[: len(methods)], label=bar, aspect=30)
            block.suptitle(setting)
            block.supxlabel(x)
            block.supylabel(y)

    return drawn, each()
