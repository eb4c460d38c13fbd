"""Compare a measured accuracy with a published one: the difference, its interval, and whether the two can agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot
from typing import Any

from cure.evaluation.statistics.intervals import NORMAL_95, wilson
from cure.published import attacks
from cure.published.claims import Claim, Kind

ROUNDING = 0.00005  # half of the last printed digit of a percentage
NOT_COMPARED = ("_delta", "_gain")
MADE_OF = ("nrr", "nrr_aa", "sum", "ood", "mrc", "drop")


def comparable(measure: str) -> bool:
    """Return whether a published measure is the accuracy of one network, clean or under an attack."""
    return measure not in MADE_OF and not measure.endswith(NOT_COMPARED)


@dataclass(frozen=True)
class Agreement:
    """One published number beside ours, in [0, 1]; if ours is missing, the column that would measure it."""

    kind: Kind
    source: str
    measure: str
    published: float
    deviation: float | None  # over seeds, where printed
    column: str | None
    ours: float | None
    images: int
    difference: tuple[float, float, float] | None  # ours - published, and its 95 % interval
    differs: list[str]  # differences of the attack from the published one; empty if it is the same
    same: str | None  # a column that was not measured, and whose attack is the published one or nearer to it
    caveat: str  # about the published row

    @property
    def agrees(self) -> bool | None:
        """Return whether images and printed seeds alone can explain the difference; None if nothing was measured."""
        return None if self.difference is None else self.difference[1] <= 0 <= self.difference[2]


def compare(
    claim: Claim, counts: Mapping[str, tuple[int, int]], known: Mapping[str, Mapping[str, Any]], images: int
) -> list[Agreement]:
    """Return every accuracy of a published row beside ours.

    Args:
        claim: the published row.
        counts: (correct images, all images) of each measured column.
        known: the settings of every available column, completed by the threat model.
        images: size of the published test set.
    """
    return [_beside(claim, measure, counts, known, images) for measure in claim.values if comparable(measure)]


def _beside(
    claim: Claim,
    measure: str,
    counts: Mapping[str, tuple[int, int]],
    known: Mapping[str, Mapping[str, Any]],
    images: int,
) -> Agreement:
    attacked, under = attacks.attacked(measure), claim.attack(measure)
    column, differs, same = None, list[str](), None
    if attacked is None:
        column = measure.removesuffix("_best").removesuffix("_last")
    else:
        column, differs = attacks.ours(attacked, under, {name: own for name, own in known.items() if name in counts})
        wanted, lacks = attacks.ours(attacked, under, known)
        same = wanted if wanted != column and (column is None or not lacks) else None
    share, deviation = claim.values[measure] / 100, claim.deviations.get(measure)
    spread = None if deviation is None else deviation / 100
    hits, seen = counts.get(column or "", (0, 0))
    return Agreement(
        kind=claim.kind,
        source=f"{claim.paper}, {claim.table}",
        measure=measure,
        published=share,
        deviation=spread,
        column=column if seen else None,
        ours=hits / seen if seen else None,
        images=seen,
        difference=difference(hits, seen, share, images, spread) if seen else None,
        differs=differs if seen else [],
        same=same,
        caveat=claim.caveat,
    )


def difference(
    hits: int, images: int, share: float, others: int, deviation: float | None = None
) -> tuple[float, float, float]:
    """Return hits/images - share and its 95 % interval, for a share that was printed of `others` images.

    The Wilson intervals of both are combined as for two networks on different images (Newcombe 1998). The printed
    deviation over seeds and the rounding of the print widen the published side.
    """
    own, gap = hits / images, hits / images - share
    low, high = wilson(hits, images)
    bottom, top = wilson(round(share * others), others)
    seeds = NORMAL_95 * (deviation or 0.0)
    below = hypot(own - low, hypot(top - share, seeds)) + ROUNDING
    above = hypot(high - own, hypot(share - bottom, seeds)) + ROUNDING
    return gap, gap - below, gap + above
