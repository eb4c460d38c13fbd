"""What a figure of the report is, and the look that all of them share.

A figure draws from one table and touches no file. Methods keep their colour, line, hatch and marker in every figure,
and differ in grey as well: by dashes, by hatches, by markers, by place or by a printed number.
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
"""The one type size, in points, as settings of matplotlib over its defaults."""
FOREMOST = ("at", "cure")
"""What findings compare lies above the others."""
ACROSS = 6
"""At most so many small panels side by side."""


@dataclass(frozen=True)
class Figure:
    """An entry of cure/figures.

    `data` names a table of reporting/evidence.py or, where none has this name, an entry of cure/analyses, which comes
    as one line per run and combination of the labels of its axes, or, being pictures, one line per run with a column
    for each of its arrays. An empty table is not drawn; `without` says what lacked.
    """

    caption: str  # one sentence: what is measured, on what
    data: str
    without: str
    draw: Callable[[pd.DataFrame], Sheet]
    seeds: str = "Mean of {} seeds."  # of several seeds the caption's last sentence
    findings: tuple[Finding, ...] = ()  # what papers conclude from it, judged by its table


def style(method: str) -> tuple[str, Any, str]:
    """(colour, line, hatch) of a method, the same in every figure and tellable in grey."""
    place = _place(method)
    return COLOURS[place % len(COLOURS)], LINES[place % len(LINES)], HATCHES[place % len(HATCHES)]


def marker(method: str) -> str:
    """The marker of a method, which with its colour belongs to no other, in every figure."""
    return MARKERS[_place(method) % len(MARKERS)]


def _place(method: str) -> int:
    """Return the place in NAMES or, of a method without a spelling, one of the free places, by a checksum of its key.

    It is not the place among the files, which a new method would shift.
    """
    free = len(COLOURS) * len(MARKERS) - len(NAMES)
    return list(NAMES).index(method) if method in NAMES else len(NAMES) + zlib.crc32(method.encode()) % free


def sheet(width: float, height: float) -> Sheet:
    """An empty sheet of this many inches."""
    return Sheet(figsize=(width, height), dpi=120, layout="constrained")


def spread(data: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Columns `mean` and `sd` of a value over seeds, for each combination of `by`; sd is 0 for a single seed."""
    groups = data.groupby(by, sort=False)[value]
    return pd.DataFrame({"mean": groups.mean(), "sd": groups.std().fillna(0)})


def panels(data: pd.DataFrame, width: float, height: float) -> tuple[Sheet, Iterator[tuple[Axes, pd.DataFrame]]]:
    """One panel of this size for each data set and model, side by side, each with its title and its part of the table.

    The sheet is complete once the parts have been gone through.
    """
    settings = list(data["setting"].unique())
    drawn = sheet(width * len(settings), height)

    def each() -> Iterator[tuple[Axes, pd.DataFrame]]:
        for ax, setting in zip(drawn.subplots(1, len(settings), squeeze=False)[0], settings, strict=True):
            ax.set_title(setting)
            yield ax, data[data["setting"] == setting]

    return drawn, each()


def columns(panels: int, most: int) -> int:
    """Return how many panels go side by side so that the last row is as full as the number of rows allows."""
    return math.ceil(panels / math.ceil(panels / most))


def leave(panels: list[Axes], used: int, across: int) -> None:
    """Of panels that share their axes, leave the first so many; a column may then end above the last row."""
    for ax in panels[used:]:
        ax.set_visible(False)
    for ax in panels[max(0, used - across) : used]:
        ax.tick_params(labelbottom=True)


def multiples(
    block: SubFigure, lines: "dict[str, pd.Series[float]]", titles: dict[str, str], axes: tuple[str, str]
) -> Iterator[tuple[Axes, str]]:
    """A small panel per method with its line, all lines in grey behind it; `axes` are the names of x and y.

    The panels come back for what else stands in them.
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
