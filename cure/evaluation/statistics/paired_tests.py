"""Test two networks on the same images, and adjust many tests at once.

A paired test generalises to other images of the same kind, for these two networks. Claims about methods, of which
networks are samples, need two_level.py.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from cure.evaluation.statistics.intervals import NORMAL_95
from cure.evaluation.statistics.paired_outcomes import PairedOutcomes

LEVEL = 0.05
"""Chance of one false claim or more among all tests that are adjusted together; the intervals hold 1 - LEVEL."""


def paired_interval(found: PairedOutcomes) -> tuple[float, float]:
    """Return the 95 % interval of the difference: Wald's, with half an image more for each side and one concordant.

    Agresti and Min, Statistics in Medicine 2005. Unlike a bootstrap it has a width even if no image differs.
    """
    gap, either, images = found.first - found.second, found.first + found.second, found.images + 2
    half = NORMAL_95 * sqrt((either + 1) / images - (gap / images) ** 2) / sqrt(images)
    return max(-1.0, gap / images - half), min(1.0, gap / images + half)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return adjusted p-values: the chance of at least one false claim among all stays below the level. Holm 1979."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]).clip(max=1)
    return adjusted
