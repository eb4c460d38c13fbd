"""The contract of a figure of the report, and the style that all figures share.

A figure draws from one table and reads or writes no file. Methods keep their colour, line, hatch and marker in every
figure. They also differ in grey: by dashes, hatches, markers, position or a printed number.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.figure import SubFigure

from cure.core.finding import Finding
from cure.core.names import NAMES

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444444", "#8c6bb1"]
LINES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
HATCHES = ["", "///", "...", "xxx", "\\\\\\"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
TYPE = 8.0
LOOK: dict[str, Any] = {
    **dict.fromkeys(
        ("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize", "legend.title_fontsize"), TYPE
    ),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "figure.titlesize", "figure.labelsize"), TYPE),
}
"""The one type size, in points, as settings that override matplotlib's defaults."""
FOREMOST = ("at", "cure")
"""The methods that findings compare; figures draw them above the others."""
ACROSS = 6
"""The most small panels in one row."""


@dataclass(frozen=True)
class Figure:
    """An entry of cure/figures, as its module names it `FIGURE`.

    `data` names a table of reporting/evidence.py or, if there is none of this name, an entry of cure/analyses. The
    table of an analysis has one line per run and combination of the labels of its axes. An analysis of pictures has one
    line per run and a column for each of its arrays. If the table is empty, nothing is drawn, and the report gives
    `without` as the reason.

    Every table has the columns `setting` (data set and model), `method` and `seed`.
    """

    caption: str  # one sentence: the measured quantity, and the images
    data: str
    without: str
    draw: Callable[[pd.DataFrame], Sheet]
    seeds: str = "Mean of {} seeds."  # the caption's last sentence if there are several seeds
    findings: tuple[Finding, ...] = ()  # conclusions of papers, tested on the figure's table


def style(method: str) -> tuple[str, Any, str]:
    """Return the colour, line style and hatch of a method: the same in every figure, and distinguishable in grey."""
    place = _place(method)
    return COLOURS[place % len(COLOURS)], LINES[place % len(LINES)], HATCHES[place % len(HATCHES)]


def marker(method: str) -> str:
    """Return the marker of a method, the same in every figure; no other method has it in the same colour."""
    return MARKERS[_place(method) % len(MARKERS)]


def _place(method: str) -> int:
    """Return the index of a method in NAMES; a method that NAMES lacks gets a free index, by a checksum of its key.

    The index does not depend on the other files of cure/methods, so a new method changes no style.
    """
    free = len(COLOURS) * len(MARKERS) - len(NAMES)
    return list(NAMES).index(method) if method in NAMES else len(NAMES) + zlib.crc32(method.encode()) % free


def sheet(width: float, height: float) -> Sheet:
    """Return an empty matplotlib figure.

    Args:
        width: inches.
        height: inches.
    """
    return Sheet(figsize=(width, height), dpi=120, layout="constrained")


def spread(data: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Return mean and standard deviation of a column over seeds.

    Args:
        data: a table with one line per seed and combination.
        by: the columns that make a combination.
        value: the column to average.

    Returns:
        Columns `mean` and `sd` (sample standard deviation, 0 for a single seed), indexed by `by`.
    """
    groups = data.groupby(by, sort=False)[value]
    return pd.DataFrame({"mean": groups.mean(), "sd": groups.std().fillna(0)})


def panels(data: pd.DataFrame, width: float, height: float) -> tuple[Sheet, Iterator[tuple[Axes, pd.DataFrame]]]:
    """Return a sheet with one panel per data set and model, side by side, and an iterator over the panels.

    Args:
        data: the figure's table.
        width: inches of a panel.
        height: inches of a panel.

    Returns:
        The sheet, and pairs of a panel, which has its title, and its part of the table. The sheet is complete once the
        iterator is exhausted.
    """
    settings = list(data["setting"].unique())
    drawn = sheet(width * len(settings), height)

    def each() -> Iterator[tuple[Axes, pd.DataFrame]]:
        for ax, setting in zip(drawn.subplots(1, len(settings), squeeze=False)[0], settings, strict=True):
            ax.set_title(setting)
            yield ax, data[data["setting"] == setting]

    return drawn, each()


def columns(panels: int, most: int) -> int:
    """Return how many panels to put in one row, so that the last row is as full as the number of rows allows.

    Args:
        panels: the number of panels.
        most: the most panels in one row.
    """
    return math.ceil(panels / math.ceil(panels / most))


def leave(panels: list[Axes], used: int, across: int) -> None:
    """Hide all but the first panels of a grid with shared axes, and show x ticks below the last panel of each column.

    Args:
        panels: the panels of the grid, row by row.
        used: the number of panels that stay.
        across: the panels in one row.
    """
    for ax in panels[used:]:
        ax.set_visible(False)
    for ax in panels[max(0, used - across) : used]:
        ax.tick_params(labelbottom=True)


def multiples(
    block: SubFigure, lines: "dict[str, pd.Series[float]]", titles: dict[str, str], axes: tuple[str, str]
) -> Iterator[tuple[Axes, str]]:
    """Draw a small panel per method with its line, in front of the lines of all methods in grey.

    Args:
        block: the part of the sheet to fill.
        lines: method -> values, indexed by their x.
        titles: method -> title of its panel.
        axes: labels of x and y.

    Yields:
        Each panel and its method, so that the caller can draw more into it.
    """
    across = columns(len(lines), ACROSS)
    grid = block.subplots(math.ceil(len(lines) / across), across, sharex=True, sharey=True, squeeze=False)
    block.supxlabel(axes[0])
    block.supylabel(axes[1])
    leave(list(grid.flat), len(lines), across)
    gap = pd.Series([math.nan], index=[math.nan])
    everyone = pd.concat([part for line in lines.values() for part in (line, gap)])
    for ax, (method, line) in zip(grid.flat, lines.items(), strict=False):
        colour, dash, _ = style(method)
        ax.plot(everyone.index, everyone, color="#d0d0d0", linewidth=0.8)
        ax.plot(line.index, line, color=colour, linestyle=dash, linewidth=1.6)
        ax.set_title(titles[method])
        ax.grid(alpha=0.3)
        yield ax, method
