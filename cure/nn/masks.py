"""Which weights a masked update may touch: exact percentiles of a score."""

import math
from fnmatch import fnmatch
from typing import Literal

import torch

from cure.core.tensors import Tensor
from cure.nn.order_statistics import order_statistics

Masks = dict[str, Tensor]


def threshold(score: Tensor, share: float) -> Tensor:
    """The smallest score that is kept when the lowest `share` (0..1) of the entries is conserved."""
    return thresholds([score], share)[0]


def thresholds(scores: list[Tensor], share: float) -> list[Tensor]:
    """The threshold of every tensor by itself: the order statistic of rank ceil(share * (N - 1)) from 0.

    Keeping `score >= threshold` equals keeping what reaches numpy's linearly interpolated percentile, without the
    interpolation.
    """
    # 0.3 * 10 is 3.0000000000000004 in floats
    return order_statistics(scores, [math.ceil(round(share * (score.numel() - 1), 9)) for score in scores])


def masks(scores: dict[str, Tensor], share: float, scope: Literal["layer", "global"]) -> Masks:
    """True where a weight is updated; one threshold per tensor (`layer`) or one for all of them (`global`)."""
    if not scores:
        return {}
    if scope == "global":
        common = threshold(torch.cat([score.flatten() for score in scores.values()]), share)
        return {name: score >= common for name, score in scores.items()}
    own = thresholds(list(scores.values()), share)
    return {name: score >= limit for (name, score), limit in zip(scores.items(), own, strict=True)}


def chosen(names: list[str], include: list[str], exclude: list[str]) -> list[str]:
    """The names that match a pattern of `include` and none of `exclude` (shell wildcards)."""

    def hit(name: str, patterns: list[str]) -> bool:
        return any(fnmatch(name, pattern) for pattern in patterns)

    return [name for name in names if hit(name, include) and not hit(name, exclude)]
