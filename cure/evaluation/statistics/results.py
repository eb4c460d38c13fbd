"""Reading a result of the stage attack: one character per image and column, 1 correct, 0 not, - not looked at."""

from math import ceil, inf
from typing import Any

from cure.evaluation.statistics.intervals import nrr, nrr_interval

Result = dict[str, Any]


def counts(result: Result, column: str) -> tuple[int, int, int]:
    """(correct in the column, images looked at, of these correct clean)."""
    pairs = [
        (here, clean)
        for here, clean in zip(result["outcomes"][column], result["outcomes"]["clean"], strict=True)
        if here != "-"
    ]
    return sum(here == "1" for here, _ in pairs), len(pairs), sum(clean == "1" for _, clean in pairs)


def ratio(result: Result, column: str) -> float:
    """Natural-robustness ratio in [0, 1], clean accuracy taken on the images of the column."""
    correct, images, clean = counts(result, column)
    return nrr(clean / images, correct / images)


def ratio_interval(result: Result, column: str) -> tuple[float, float]:
    """Its 95 % interval."""
    correct, images, clean = counts(result, column)
    return nrr_interval(clean, correct, images)


def shares(result: Result) -> dict[str, float]:
    """Clean, every column and the worst case, then the ratio of each column, all in [0, 1]."""
    found = {name: correct / images for name in result["outcomes"] for correct, images, _ in [counts(result, name)]}
    return found | {f"nrr_{name}": ratio(result, name) for name in found if name != "clean"}


def minima(result: Result) -> list[str]:
    """The columns that sought the smallest perturbation."""
    return [name for name, about in result["columns"].items() if "distances" in about]


def quantile(result: Result, column: str, share: float) -> float:
    """The perturbation at which accuracy on clean-correct images falls to 1 - share, in units of [0, 1].

    The smallest distance within which at least this share of them has a verified adversarial image; infinity if no
    distance has.
    """
    about = result["columns"][column]
    pairs = zip(about["distances"], about["rows"], strict=True)
    found = sorted(inf if d is None else d for d, row in pairs if result["outcomes"]["clean"][row] == "1")
    rank = ceil(share * len(found) - 1e-9)  # 0.55 * 20 is a little more than 11
    return found[max(0, rank - 1)] if found else 0.0
