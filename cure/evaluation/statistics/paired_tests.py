"""Two methods on the same images, each with one network or with several seeds: the images are the units.

An outcome is a text with one character per image (evaluation/statistics/paired_outcomes.py). What is claimed holds for
other images of the same kind and for these networks; how far another training run differs, only the spread over seeds
tells.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from cure.errors import UserError
from cure.evaluation.statistics.intervals import NORMAL_95
from cure.evaluation.statistics.paired_outcomes import digits

LEVEL = 0.05
"""Chance of one false claim or more among all tests that are adjusted together; the intervals hold 1 - LEVEL."""


@dataclass(frozen=True)
class PairedTest:
    """Per image: in how many of the seeds the first is correct, and the second."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    seeds: int

    @property
    def accuracies(self) -> tuple[float, float]:
        """Of the first and of the second, in [0, 1]."""
        return float(self.first.mean()) / self.seeds, float(self.second.mean()) / self.seeds

    @property
    def scores(self) -> NDArray[np.int64]:
        """Their difference per image, in [-seeds, seeds]."""
        return self.first - self.second

    @property
    def difference(self) -> float:
        """Accuracy of the first minus that of the second, in [-1, 1]."""
        return float(self.scores.mean()) / self.seeds

    def p(self) -> float:
        """The chance of a total as far from 0, were each image's score as likely to be its opposite.

        Exact, by convolving one binomial per size of score. With one seed it is McNemar's exact test (McNemar 1947).
        """
        chances = np.ones(1)
        for size, images in enumerate(np.bincount(np.abs(self.scores))):
            if size and images:
                jumps = np.zeros(2 * size * images + 1)
                jumps[:: 2 * size] = binom.pmf(np.arange(images + 1), images, 0.5)
                chances = np.convolve(chances, jumps)
        totals = np.arange(len(chances)) - len(chances) // 2
        return min(1.0, float(chances[np.abs(totals) >= abs(self.scores.sum())].sum()))

    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference: Wald's with half an image more for either and one that tells nothing.

        Agresti & Min, Statistics in Medicine 2005; unlike a bootstrap it has a width where no image differs.
        """
        each, images = self.scores / self.seeds, len(self.scores) + 2
        middle = float(each.sum()) / images
        half = NORMAL_95 * sqrt((float((each**2).sum()) + 1) / images - middle**2) / sqrt(images)
        return max(-1.0, middle - half), min(1.0, middle + half)


def paired_test(first: list[str], second: list[str]) -> PairedTest:
    """The images that every network looked at; the outcomes of either come seed by seed."""
    if len(first) != len(second):
        raise UserError(f"outcomes: {len(first)} seeds against {len(second)}; compare the same seeds")
    if len({len(outcome) for outcome in (*first, *second)}) != 1:
        raise UserError("outcomes: different numbers of images; only the same images can be compared")
    a, b = (np.stack([digits(outcome) for outcome in side]).astype(np.int64) for side in (first, second))
    seen = ((a >= 0) & (b >= 0)).all(axis=0)
    if not seen.any():
        raise UserError("outcomes: no image that all looked at; evaluate them on the same images")
    return PairedTest(a[:, seen].sum(axis=0), b[:, seen].sum(axis=0), len(first))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p: the chance of one false claim or more among all of them stays below the level. Holm 1979."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]).clip(max=1)
    return adjusted
