"""Estimate means of methods that were trained several times and evaluated on the same images: both are samples.

y[s, i] is the score of the network of seed s on image i. For each method the crossed random model without replication
is

    y[s, i] = m + a_s + b_i + e_si

with independent a (this training run), b (this image) and e (this run on this image) of mean 0. MS_s, MS_i and MS_e are
the mean squares of its analysis of variance over S seeds and n images. The variance of the grand mean is estimated by

    (MS_s + MS_i - MS_e) / (S n)

A negative estimate of var(a) or var(b) is replaced by 0. So the variance is never below MS_s / (S n), that of the seeds
alone, nor below MS_i / (S n), that of the images alone. For the difference of two methods, images are paired and seeds
are not: MS_i is that of the differences per image, and MS_s and MS_e count once for each method. This is the analysis
of several readers on the same cases, with networks as readers (Obuchowski and Rockette, Communications in Statistics
1995). Degrees of freedom are Satterthwaite's (Biometrics Bulletin 1946) of the two positive parts alone: with the
subtracted part they can approach 0 (Hillis, Statistics in Medicine 2007). Together with the floor they are never below
those of the seeds and those of the images, added like resistors in parallel.

Three seeds estimate a variance with 2 degrees of freedom, so MS_s and MS_e are pooled over the k methods of a column,
which gives k (S - 1). That assumes that training again moves the accuracy of every method by the same deviation. If one
method is much less steady than the others, its intervals are too narrow and those of the others too wide. So a page
that shows the pooled deviation also shows the smallest and the largest single one. Two kinds of methods are left out of
the pool, named in `Trainings.left_out`, and tested with the pool of the others: those with nearly all outcomes alike,
since a share near 0 or 1 hardly varies; and those that fine-tune the networks of another method of the column, since
they would count its training runs twice. A method and the one that it fine-tunes are compared run by run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from cure.errors import UserError
from cure.evaluation.statistics.paired_outcomes import digits
from cure.evaluation.statistics.paired_tests import LEVEL

POWER = 0.8
ALIKE = 0.01  # a mean this close to none or all correct says nothing about the variance of other methods
NONE: Mapping[str, str] = MappingProxyType({})
ONE_SEED = (
    "one seed does not represent other training runs; list several in grid.seeds, or compare networks (cure compare)"
)


@dataclass(frozen=True)
class Scores:
    """The scores of one method (seeds, images); `whole` is the score of a correct image."""

    values: NDArray[np.float64]
    whole: float = 1.0

    @cached_property
    def per_image(self) -> NDArray[np.float64]:
        """Return each image's mean over seeds, (images)."""
        return np.asarray(self.values.mean(axis=0))

    @cached_property
    def per_seed(self) -> NDArray[np.float64]:
        """Return each seed's mean over images, (seeds)."""
        return np.asarray(self.values.mean(axis=1))

    @property
    def mean(self) -> float:
        """Return the grand mean."""
        return float(self.values.mean())

    @property
    def between(self) -> float:
        """Return the variance of the seeds' means, MS_s / n."""
        return float(self.per_seed.var(ddof=1))

    @property
    def residual(self) -> float:
        """Return the part of `between` that comes from e, MS_e / n."""
        seeds, images = self.values.shape
        rest = self.values - self.per_seed[:, None] - self.per_image + self.values.mean()
        return float((rest**2).sum()) / float((seeds - 1) * (images - 1) * images)


@dataclass(frozen=True)
class Trainings:
    """The variance between training runs: MS_s / n and MS_e / n, each a mean over the pooled methods."""

    between: float
    residual: float
    degrees: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, in the unit of the scores, with its variance."""

    value: float
    variance: float
    degrees: float
    least: float
    most: float

    def interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval over other images and other training runs, by Student's t."""
        half = float(student.ppf(1 - LEVEL / 2, self.degrees)) * sqrt(self.variance)
        return max(self.least, self.value - half), min(self.most, self.value + half)

    def p(self) -> float:
        """Return the two-sided p-value: the chance of a value at least as far from 0 if the true value is 0."""
        return float(2 * student.sf(abs(self.value) / sqrt(self.variance), self.degrees))

    def detectable(self, level: float) -> float:
        """Return the true value that a test at this level detects with probability POWER, approximately."""
        quantiles = student.ppf([1 - level / 2, POWER], self.degrees)
        return float(quantiles.sum()) * sqrt(self.variance)


class TwoLevel:
    """All methods of one column, on the same images.

    Args:
        scores: by method; every method has the same number of seeds and of images.
        starts: method -> the method whose networks it fine-tunes, seed by seed.

    Raises:
        UserError: there is one seed, or one image, or methods differ in their numbers.
    """

    def __init__(self, scores: dict[str, Scores], starts: Mapping[str, str] = NONE) -> None:
        shapes = {one.values.shape for one in scores.values()}
        if len(shapes) != 1:
            raise UserError("outcomes: methods of different numbers of seeds or images; evaluate all on the same")
        ((self.seeds, self.images),) = shapes
        if self.seeds < 2:
            raise UserError(f"outcomes: {ONE_SEED}")
        if self.images < 2:
            raise UserError("outcomes: one image does not represent other images; evaluate two or more (attack.images)")
        self.scores = scores
        self.starts = {name: start for name, start in starts.items() if {name, start} <= set(scores)}

    @cached_property
    def trainings(self) -> Trainings:
        """Return the pooled variance over seeds. Methods that are left out enter it only if there is no other."""
        extreme = {name for name, one in self.scores.items() if min(one.mean, 1 - one.mean) < ALIKE}
        left_out = tuple(name for name in self.scores if name in extreme or name in self.starts)
        pooled = [one for name, one in self.scores.items() if name not in left_out] or [*self.scores.values()]
        between, residual = (float(np.mean([getattr(one, of) for one in pooled])) for of in ("between", "residual"))
        return Trainings(between, residual, len(pooled) * (self.seeds - 1), left_out)

    def mean(self, method: str) -> Estimate:
        """Return the mean of a method."""
        one = self.scores[method]
        images = of_images(one.per_image, [(one.whole, 2.0), (0.0, 2.0)])
        return self._estimate(one.mean, images, 1, 0.0)

    def difference(self, first: str, second: str) -> Estimate:
        """Return the mean of the first method minus that of the second."""
        one, other = self.scores[first], self.scores[second]
        if first == self.starts.get(second) or second == self.starts.get(first):
            return run_by_run(one, other)
        images = of_images(one.per_image - other.per_image, [(one.whole, 0.5), (-other.whole, 0.5)])
        return self._estimate(one.mean - other.mean, images, 2, -1.0)

    def _estimate(self, value: float, images: float, methods: int, least: float) -> Estimate:
        between, residual = (methods * part / self.seeds for part in (self.trainings.between, self.trainings.residual))
        variance = max(images, between, images + between - residual)
        degrees = variance**2 / (images**2 / (self.images - 1) + between**2 / self.trainings.degrees)
        return Estimate(value, variance, degrees, least, 1.0)


def of_images(each: NDArray[np.float64], more: list[tuple[float, float]]) -> float:
    """Return MS_i / (S n) from the means per image and further (value, weight) pairs of unseen images.

    For a mean these are two more correct images and two more wrong ones (Agresti and Coull, American Statistician
    1998). For a difference it is half an image more for each method (Agresti and Min, Statistics in Medicine 2005).
    Without them the variance would be 0 if all images have the same outcome, however few they are.
    """
    middle, n = float(each.mean()), len(each)
    unseen = sum(weight * (value - middle) ** 2 for value, weight in more)
    return (float(((each - middle) ** 2).sum()) + unseen) / (n * (n - 1))


def looked_at(outcomes: dict[str, list[str]]) -> dict[str, NDArray[np.float64]]:
    """Return 1 and 0 per seed and image (seeds, images), for the images that every network was evaluated on.

    Raises:
        UserError: seeds or images differ in number, or there is no such image.
    """
    if len({len(texts) for texts in outcomes.values()}) != 1:
        raise UserError("outcomes: methods with different numbers of seeds; compare the same number")
    if len({len(text) for texts in outcomes.values() for text in texts}) != 1:
        raise UserError("outcomes: different numbers of images; only the same images can be compared")
    found = {name: np.stack([digits(text) for text in texts]) for name, texts in outcomes.items()}
    seen = np.all([(one >= 0).all(axis=0) for one in found.values()], axis=0)
    if not seen.any():
        raise UserError("outcomes: no image that all cover; evaluate them on the same images")
    return {name: one[:, seen].astype(np.float64) for name, one in found.items()}


def of_the_same_runs(first: list[str], second: list[str]) -> Estimate:
    """Return first minus second for two networks of each training run, such as its best and its last."""
    return run_by_run(*map(Scores, looked_at({"first": first, "second": second}).values()))


def run_by_run(one: Scores, other: Scores) -> Estimate:
    """Return one minus other, with seeds paired.

    The difference has a crossed model of its own, and S - 1 degrees of freedom for its seeds.
    """
    gap = Scores(one.values - other.values)
    alone = TwoLevel({"difference": gap})
    return alone._estimate(gap.mean, of_images(gap.per_image, [(one.whole, 0.5), (-other.whole, 0.5)]), 1, -1.0)


def of_counts(first: NDArray[np.float64], second: NDArray[np.float64], images: int, same_runs: bool) -> Estimate:
    """Return first minus second if only the share of correct images is known for each seed.

    Images count as unpaired, with p (1 - p) / n for each side and one more correct and one more wrong image (Agresti
    and Caffo, American Statistician 2000). All variance over seeds counts as due to training runs. Both choices are
    conservative.
    """
    if same_runs:
        between, degrees = float((first - second).var(ddof=1)), len(first) - 1
    else:
        between, degrees = float(first.var(ddof=1) + second.var(ddof=1)), 2 * (len(first) - 1)
    each = [(images * float(side.mean()) + 1) / (images + 2) for side in (first, second)]
    part, runs = sum(p * (1 - p) for p in each) / (images + 2), between / len(first)
    freedom = (part + runs) ** 2 / (part**2 / (images - 1) + runs**2 / degrees)
    return Estimate(float(first.mean() - second.mean()), part + runs, freedom, -1.0, 1.0)


def accuracies(outcomes: dict[str, list[str]], starts: Mapping[str, str] = NONE) -> TwoLevel:
    """Return the methods of a column from their outcomes, seed by seed; `starts` as in `TwoLevel`."""
    return TwoLevel({name: Scores(values) for name, values in looked_at(outcomes).items()}, starts)
