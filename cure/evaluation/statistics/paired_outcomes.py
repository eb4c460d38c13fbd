"""Compare the outcomes of two evaluations on the same images.

An outcome is a text with one character per image: 1 correct, 0 not, - not evaluated.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from cure.errors import UserError


@dataclass(frozen=True)
class PairedOutcomes:
    """Numbers of images that are correct in both, in the first alone, in the second alone, in neither."""

    both: int
    first: int
    second: int
    neither: int

    @property
    def images(self) -> int:
        """Return the number of all images."""
        return self.both + self.first + self.second + self.neither

    @property
    def right(self) -> tuple[int, int]:
        """Return the numbers of images correct in the first and in the second."""
        return self.both + self.first, self.both + self.second

    @property
    def difference(self) -> float:
        """Return the accuracy of the first minus that of the second, in [-1, 1]."""
        return (self.first - self.second) / self.images

    def p(self, alternative: Literal["two-sided", "greater"] = "two-sided") -> float:
        """Return the p-value of the exact McNemar test that both are equally good. McNemar 1947."""
        discordant = self.first + self.second
        return float(binomtest(self.first, discordant, 0.5, alternative=alternative).pvalue) if discordant else 1.0


def digits(outcome: str) -> NDArray[np.int8]:
    """Return 1 and 0 as int8, and -1 where an image was not evaluated."""
    if strange := set(outcome) - set("01-"):
        raise UserError(f"outcomes: {min(strange)!r} found; allowed are only 1 (correct), 0 and - (not evaluated)")
    codes = np.frombuffer(outcome.encode(), dtype=np.int8) - np.int8(ord("0"))
    return np.where(codes < 0, -1, codes).astype(np.int8)


def paired_outcomes(first: str, second: str) -> PairedOutcomes:
    """Count outcomes over the images that both cover; raise UserError if lengths differ or there are no such images."""
    if len(first) != len(second):
        raise UserError(f"outcomes: {len(first)} images against {len(second)}; only the same images can be compared")
    a, b = digits(first), digits(second)
    seen = (a >= 0) & (b >= 0)
    if not seen.any():
        raise UserError("outcomes: no image that both cover; evaluate both on the same images")
    neither, second_alone, first_alone, both = np.bincount(2 * a[seen] + b[seen], minlength=4).tolist()
    return PairedOutcomes(both, first_alone, second_alone, neither)


def worst(outcomes: list[str]) -> str:
    """Combine outcomes: 1 only if correct in every column that covers the image, - if no column covers it."""
    return "".join("0" if "0" in column else max(column) for column in zip(*outcomes, strict=True))
