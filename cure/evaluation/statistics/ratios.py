"""Estimate natural-robustness ratios of methods and of networks, by the delta method."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cure.evaluation.statistics.two_level import NONE, Estimate, Scores, TwoLevel, looked_at, of_images


def ratios(clean: dict[str, list[str]], robust: dict[str, list[str]], starts: Mapping[str, str] = NONE) -> TwoLevel:
    """Return the methods of a column by their natural-robustness ratio 2 n r / (n + r), a mean over seeds.

    By the delta method, the ratio of a seed is linearised at its own n and r. It is homogeneous of degree 1, so it is
    the mean over images of c dR/dn + x dR/dr, where c and x are 1 if the image is correct clean and under attack.
    """
    return TwoLevel(_ratio_scores(clean, robust), starts)


def ratio_of_networks(clean: dict[str, list[str]], robust: dict[str, list[str]]) -> Estimate:
    """Return the ratio of the first of two networks minus that of the second, over other images alone.

    The ratios are linearised as in `ratios`, and images are paired.
    """
    first, second = _ratio_scores(clean, robust).values()
    variance = of_images(first.per_image - second.per_image, [(first.whole, 0.5), (-second.whole, 0.5)])
    return Estimate(first.mean - second.mean, variance, float(len(first.per_image) - 1), -1.0, 1.0)


def _ratio_scores(clean: dict[str, list[str]], robust: dict[str, list[str]]) -> dict[str, Scores]:
    both = {(name, side): texts for side, one in (("n", clean), ("r", robust)) for name, texts in one.items()}
    seen = looked_at({" ".join(key): texts for key, texts in both.items()})
    return {name: _linear_ratio(seen[f"{name} n"], seen[f"{name} r"]) for name in clean}


def _linear_ratio(clean: NDArray[np.float64], robust: NDArray[np.float64]) -> Scores:
    n, r = (one.mean(axis=1, keepdims=True) for one in (clean, robust))
    total = np.where(n + r > 0, n + r, 1.0)
    by_n, by_r = 2 * (r / total) ** 2, 2 * (n / total) ** 2
    return Scores(by_n * clean + by_r * robust, float((by_n + by_r).mean()))
