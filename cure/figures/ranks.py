"""Draw a critical-difference diagram: each method's rank with its interval, and bars over those not told apart."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet

from cure.core.figure import Figure, leave, marker, sheet, style
from cure.core.figure import columns as side_by_side
from cure.core.names import NAMES, heading

ACROSS = 3
BAR = 0.045  # width of a bar, as a share of the axis of ranks


def draw(data: pd.DataFrame) -> Sheet:
    """Draw a block per data set and model and a panel per column of the table, with the first rank on top."""
    lines = data.drop_duplicates(["setting", "column", "method"])
    settings, columns = list(lines["setting"].unique()), list(lines["column"].unique())
    across = side_by_side(len(columns), ACROSS)
    down = -(-len(columns) // across)
    height = 0.9 + 0.2 * lines["method"].nunique()
    drawn = sheet(3.9 * across, (height * down + 0.3) * len(settings))
    for block, setting in zip(drawn.subfigures(len(settings), 1, squeeze=False)[:, 0], settings, strict=True):
        block.suptitle(setting)
        block.supxlabel("rank, with its 95 % interval (beside the name: the mean in percent)")
        axes = list(block.subplots(down, across, squeeze=False).flat)
        for ax, column in zip(axes, columns, strict=False):
            _panel(ax, lines[(lines["setting"] == setting) & (lines["column"] == column)].sort_values("mean"))
            ax.set_title(f"{heading(column)} ({lines['images'][lines['column'] == column].iloc[0]} images)")
        leave(axes, len(columns), across)
    return drawn


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    methods = part["method"].tolist()[::-1]
    for place, line in enumerate(part.to_dict("records")[::-1]):
        colour = style(line["method"])[0]
        ax.plot([line["rank_low"], line["rank_high"]], [place, place], color=colour, linewidth=1.6)
        ax.plot([line["rank"]], [place], marker(line["method"]), color=colour, markersize=5)
    most = len(methods)
    bars = list(_not_told_apart(methods, dict(zip(part["method"], part["alike"].str.split(), strict=True))))
    for i, joined in enumerate(bars):
        at = most + 0.5 + BAR * most * (i + 1)
        ax.plot([at] * len(joined), joined, "-o", color="black", linewidth=1, markersize=3)
    ax.axvline(most + 0.5, color="#bbbbbb", linewidth=0.8)
    names = [
        f"{NAMES.get(line['method'], line['method'])} {line['mean']:.1f}" for line in part.to_dict("records")[::-1]
    ]
    ax.set_yticks(range(most), names)
    ax.set_xticks(sorted({1, *range(5, most + 1, 5), most} if most > 5 else {*range(1, most + 1)}))
    ax.set(ylim=(most - 0.4, -0.6), xlim=(0.5, most + 0.5 + BAR * most * (len(bars) + 1)))
    ax.grid(axis="y", alpha=0.3)


def _not_told_apart(methods: list[str], alike: dict[str, list[str]]) -> Iterator[list[int]]:
    """Yield the largest groups of two or more methods of which no two are told apart, as places from the top.

    So two methods share a bar if, and only if, they are not told apart. Bron and Kerbosch, CACM 1973.
    """
    near = {i: {methods.index(name) for name in alike[method]} - {i} for i, method in enumerate(methods)}

    def grown(group: set[int], more: set[int], done: set[int]) -> Iterator[list[int]]:
        if not more and not done and len(group) > 1:
            yield sorted(group)
        for one in sorted(more):
            yield from grown(group | {one}, more & near[one], done & near[one])
            more, done = more - {one}, done | {one}

    yield from sorted(grown(set(), set(near), set()))


FIGURE = Figure(
    "Rank of every method under each column of the table, 1 for the highest mean, with its 95 % interval over other "
    "images and other training runs. On the right a bar joins, by dots, methods of which no two are told apart "
    "(two-level tests, Holm); two methods without a bar in common are told apart.",
    data="ranks",
    without="one seed, and single networks rank no methods; list several under grid.seeds",
    draw=draw,
    seeds="From {} seeds of each method.",
)
