"""Put names beside points, so that none covers another name, a point, or the edge of its panel."""

from collections.abc import Iterator
from itertools import product
from math import cos, hypot, pi, sin

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase

REACHES = (9, 13, 18, 24, 32, 42, 54)  # points from the dot to the middle of the nearest edge of its name
DIRECTIONS = 16
NEAR = 13
"""A name further away than this, or nearer to another dot, gets a line to its own."""


def label(ax: Axes, points: list[tuple[float, float, str, str]]) -> None:
    """Write each name by its point, as near as there is room; the limits and the layout of `ax` must be final.

    Names are placed greedily in the order of the points: each takes the first free place of those at the least
    distance.

    Args:
        ax: the panel.
        points: (x, y, text, colour) of each name.
    """
    sheet = ax.get_figure(root=True)
    assert sheet is not None
    scale = sheet.dpi / 72
    dots = [tuple(ax.transData.transform((x, y))) for x, y, *_ in points]
    taken = [Bbox.from_bounds(x - 4 * scale, y - 4 * scale, 8 * scale, 8 * scale) for x, y in dots]
    for (x, y, text, colour), dot in zip(points, dots, strict=True):
        extent = Text(x, y, text, figure=sheet).get_window_extent()
        places = _places(extent.width / scale, extent.height / scale)
        boxes = [(reach, offset, _box(dot, offset, extent, scale)) for reach, offset in places]
        free = [one for one in boxes if _inside(ax.bbox, one[2]) and not any(one[2].overlaps(old) for old in taken)]
        reach, offset, box = (free or boxes)[0]
        taken.append(box)
        apart = [hypot(x - (box.x0 + box.x1) / 2, y - (box.y0 + box.y1) / 2) for x, y in dots]
        doubtful = reach > NEAR or min(apart) < apart[dots.index(dot)]
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": "#777777", "shrinkA": 0, "shrinkB": 3}
        ax.annotate(
            text,
            (x, y),
            offset,
            textcoords="offset points",
            color=[0.65 * part for part in to_rgb(colour)],
            ha="center",
            va="center",
            arrowprops=line if doubtful else None,
        ).set_in_layout(False)


def _places(width: float, height: float) -> Iterator[tuple[float, tuple[float, float]]]:
    """Yield (reach, offset of the middle) for a text of this size in points, nearest first, starting on the right."""
    for reach, k in product(REACHES, range(DIRECTIONS)):
        across, up = cos(2 * pi * k / DIRECTIONS), sin(2 * pi * k / DIRECTIONS)
        yield reach, (across * (reach + width / 2), up * (reach + height / 2))


def _box(dot: tuple[float, float], offset: tuple[float, float], extent: Bbox, scale: float) -> Bbox:
    x, y = (place + scale * away for place, away in zip(dot, offset, strict=True))
    return Bbox.from_bounds(x - extent.width / 2 - 1, y - extent.height / 2 - 1, extent.width + 2, extent.height + 2)


def _inside(outer: BboxBase, inner: BboxBase) -> bool:
    return bool(outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1)
