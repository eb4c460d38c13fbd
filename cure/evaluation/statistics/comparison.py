"""Compare two networks on the same images: which one is better, and whether that can be claimed.

Every p is that of one column alone: of twenty comparisons of equals, one falls below 0.05.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cure.errors import UserError
from cure.evaluation.statistics.intervals import nrr
from cure.evaluation.statistics.paired_outcomes import PairedOutcomes, digits, paired_outcomes
from cure.settings.base import Norm

LEVEL = 0.05  # of the exact McNemar test; a definition: every interval that this project prints is a 95 % one
RESAMPLES = 10_000  # enough that the ends of an interval move by less than their last printed digit

NORMS: dict[Norm, str] = {"linf": "L-inf", "l2": "L2"}

Interval = tuple[float, float, float]
"""Measured, lower end, upper end."""


@dataclass(frozen=True)
class Table:
    """Per-image outcomes (paired_outcomes.py) of one network by column; `images` are their places in the test split."""

    name: str
    images: list[int]
    outcomes: dict[str, str]
    data: str = ""  # digest of the data set, where known
    eps: float | None = None  # radius of the ball, where known
    norm: Norm = "linf"  # of the ball
    labels: dict[str, str] = field(default_factory=dict)  # of AutoAttack columns: standard, custom, rand
    titles: dict[str, str] = field(default_factory=dict)  # headings of the columns


@dataclass(frozen=True)
class Comparison:
    """One column of both: a minus b in [-1, 1], with 95 % intervals of a paired bootstrap over images."""

    column: str
    counts: PairedOutcomes  # the agreement matrix
    p: float
    accuracy: Interval
    ratio: Interval | None  # of NRR, which pairs the column with clean accuracy; None for `clean`
    sentence: str


def compare(a: Table, b: Table, seed: int) -> list[Comparison]:
    """Compare every column that both tables have.

    Args:
        a, b: outcomes of two networks on the same images.
        seed: of the bootstrap.

    Raises:
        UserError: the images or the threat models differ, or there is no common column.
    """
    _same_images(a, b)
    shared = [name for name in a.outcomes if name in b.outcomes]
    if not shared:
        raise UserError(f"compare: no column in common; {a.name} has {', '.join(a.outcomes)}, {b.name} {_names(b)}")
    return [_compared(a, b, column, seed) for column in shared]


def _same_images(a: Table, b: Table) -> None:
    for table in (a, b):
        for column, outcome in table.outcomes.items():
            if len(outcome) != len(table.images):
                raise UserError(f"{table.name}: {column} has {len(outcome)} outcomes of {len(table.images)} images")
    if a.data and b.data and a.data != b.data:
        raise UserError(f"compare: {a.name} and {b.name} were evaluated on different data sets; use one data file")
    if a.norm != b.norm:
        of_a, of_b = (
            f"the {NORMS[table.norm]} ball" + (f", eps {table.eps:g}" if table.eps else "") for table in (a, b)
        )
        raise UserError(
            f"compare: {a.name} was attacked in {of_a}, {b.name} in {of_b}; evaluate both under one threat model"
        )
    if a.eps is not None and b.eps is not None and a.eps != b.eps:
        raise UserError(
            f"compare: {a.name} was attacked with eps {a.eps:g}, {b.name} with {b.eps:g}; use one threat model"
        )
    for column in a.labels.keys() & b.labels.keys():
        if a.labels[column] != b.labels[column]:
            said = f"{column} of {a.name} is {a.labels[column]}, of {b.name} {b.labels[column]}"
            raise UserError(f"compare: {said}; evaluate both with the same settings")
    if len(a.images) != len(b.images):
        counts = f"{a.name} on {len(a.images)} images, {b.name} on {len(b.images)}"
        raise UserError(f"compare: {counts}; evaluate both on the same number")
    for place, (one, other) in enumerate(zip(a.images, b.images, strict=True)):
        if one != other:
            raise UserError(
                f"compare: different images (place {place} is image {one} of the test split for {a.name}, {other} for "
                f"{b.name}); evaluate both on the same ones"
            )


def _names(table: Table) -> str:
    return ", ".join(table.outcomes)


def _compared(a: Table, b: Table, column: str, seed: int) -> Comparison:
    counts = paired_outcomes(a.outcomes[column], b.outcomes[column])
    drawn, measured = _resampled(a, b, column, seed)
    gap = _interval(drawn[:, 2] - drawn[:, 3], measured[2] - measured[3])
    ratio = None
    if column != "clean":
        natural, robust = drawn[:, :2], drawn[:, 2:]
        total = natural + robust
        each = np.divide(2 * natural * robust, total, out=np.zeros_like(total), where=total > 0)
        ratio = _interval(each[:, 0] - each[:, 1], nrr(measured[0], measured[2]) - nrr(measured[1], measured[3]))
    p = counts.p()
    return Comparison(column, counts, p, gap, ratio, _sentence(a.name, b.name, column, gap, p))


def _resampled(a: Table, b: Table, column: str, seed: int) -> tuple[NDArray[np.float64], list[float]]:
    """Return accuracies (clean a, clean b, column a, column b) of images drawn with replacement, and the measured ones.

    An image is one of 16 patterns of four outcomes, so drawing images is drawing counts of patterns.
    """
    clean = [table.outcomes.get("clean", table.outcomes[column]) for table in (a, b)]
    rows = np.stack([digits(text) for text in (*clean, a.outcomes[column], b.outcomes[column])])
    rows = rows[:, (rows >= 0).all(0)]
    patterns = np.bincount(np.array([8, 4, 2, 1]) @ rows, minlength=16)
    bits = (np.arange(16)[:, None] >> np.array([3, 2, 1, 0])) & 1
    n = int(patterns.sum())
    drawn = np.random.default_rng(seed).multinomial(n, patterns / n, size=RESAMPLES)
    return drawn @ bits / n, (patterns @ bits / n).tolist()


def _interval(drawn: NDArray[np.float64], measured: float) -> Interval:
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    return measured, low, high


def _sentence(a: str, b: str, column: str, gap: Interval, p: float) -> str:
    better, where = ("more accurate", "on clean images") if column == "clean" else ("more robust", f"under {column}")
    first, second, (middle, low, high) = (a, b, gap) if gap[0] >= 0 else (b, a, (-gap[0], -gap[2], -gap[1]))
    numbers = f"{100 * middle:.1f} points [{100 * low:.1f}, {100 * high:.1f}], p = {p:.2g}"
    if p < LEVEL:
        return f"{first} is {better} than {second} {where}: {numbers}"
    return f"no difference can be claimed between {first} and {second} {where}: {numbers}"
