"""Estimate how certain the order of methods is: a parametric bootstrap over images and training runs.

A resample draws the mean of every method from a normal distribution around the measured one. Its covariance is that of
the two-level model (two_level.py). Images, which all methods share, move all means together. Training runs move each
mean separately, but a method that fine-tunes another's networks moves with it. Their deviation is drawn anew in each
resample, as far as the pooled variance leaves it open (its degrees of freedom over a chi-square). Seeds are not drawn
with replacement: of S seeds that gives (S - 1) / S of their variance, which is two thirds with three seeds. On ranks
from a bootstrap: Hall and Miller, Annals of Statistics 2009.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cure.evaluation.statistics.paired_tests import LEVEL
from cure.evaluation.statistics.two_level import TwoLevel

RESAMPLES = 100_000  # enough to know a share to 0.2 percentage points; whole ones are printed
SEED = 0


@dataclass(frozen=True)
class Rank:
    """The rank of a method's mean, 1 for the highest; its 95 % interval; the share of resamples where it is first."""

    rank: int
    low: int
    high: int
    first: float


def ranks(methods: TwoLevel) -> dict[str, Rank]:
    """Return the rank of every method; equal means share the better rank."""
    means = np.array([one.mean for one in methods.scores.values()])
    drawn = _places(_resampled(methods, means))
    ends = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2], axis=0, method="inverted_cdf")
    first = (drawn == 1).mean(axis=0)
    return {
        name: Rank(1 + int((means > means[i]).sum()), int(ends[0, i]), int(ends[1, i]), float(first[i]))
        for i, name in enumerate(methods.scores)
    }


def _resampled(methods: TwoLevel, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return resampled means of all methods (RESAMPLES, methods)."""
    images = np.atleast_2d(np.cov([one.per_image for one in methods.scores.values()])) / methods.images
    variances = np.array([methods.mean(name).variance for name in methods.scores])
    runs = np.sqrt((variances - images.diagonal()).clip(min=0))
    draws, degrees = np.random.default_rng(SEED), methods.trainings.degrees
    shared = draws.standard_normal((RESAMPLES, len(means))) @ _root(images)
    names = list(methods.scores)
    apart = draws.standard_normal((RESAMPLES, len(means)))
    own = apart[:, [names.index(methods.starts.get(name, name)) for name in names]] * runs
    return np.asarray(means + shared + own * np.sqrt(degrees / draws.chisquare(degrees, (RESAMPLES, 1))))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric square root, which does not depend on LAPACK's choice of eigenvectors."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)


def _places(drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rank of each value in its row, 1 for the largest."""
    order = np.argsort(-drawn, axis=1)
    places: NDArray[np.int64] = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(1, drawn.shape[1] + 1)[None, :], axis=1)
    return places
