"""Masks of the weights that an update may change, by exact percentiles of a score."""

import math
from fnmatch import fnmatch
from typing import Literal

import torch

from cure.core.tensors import Tensor
from cure.nn.order_statistics import CHUNK, order_statistics, packing_of

Masks = dict[str, Tensor]


def threshold(score: Tensor, share: float) -> Tensor:
    """Return the smallest score that is updated if the lowest `share` (0..1) of the entries is conserved."""
    return thresholds([score], share)[0]


def thresholds(scores: list[Tensor], share: float) -> list[Tensor]:
    """Return the threshold of every tensor: its order statistic of rank ceil(share * (N - 1)), counted from 0.

    Keeping `score >= threshold` equals keeping the scores that reach numpy's linearly interpolated percentile, without
    the interpolation.
    """
    return order_statistics(scores, [_rank(score.numel(), share) for score in scores])


def _rank(n: int, share: float) -> int:
    return math.ceil(round(share * (n - 1), 9))  # 0.3 * 10 is 3.0000000000000004 in floats


def masks(scores: dict[str, Tensor], share: float, scope: Literal["layer", "global"]) -> Masks:
    """Return masks that are true where a weight is updated.

    Args:
        scores: name -> score of every weight.
        share: share of the weights that are conserved, from 0 to 1.
        scope: `layer` for a threshold per tensor, `global` for one threshold of all tensors.
    """
    if not scores:
        return {}
    if next(iter(scores.values())).is_cuda:
        return _packed_masks(scores, share, scope)
    if scope == "global":
        common = threshold(torch.cat([score.flatten() for score in scores.values()]), share)
        return {name: score >= common for name, score in scores.items()}
    own = thresholds(list(scores.values()), share)
    return {name: score >= limit for (name, score), limit in zip(scores.items(), own, strict=True)}


def _packed_masks(scores: dict[str, Tensor], share: float, scope: Literal["layer", "global"]) -> Masks:
    """Compute `masks` with a few kernels, however many tensors there are."""
    packing = packing_of(list(scores.values()))
    rows, together = packing.packed(list(scores.values())), scope == "global"
    sizes = [sum(packing.sizes)] if together else packing.sizes
    limits = packing.order_statistics(rows, [_rank(size, share) for size in sizes], together=together)
    return dict(zip(scores, packing.views(packing.reach(rows, limits)), strict=True))


def applied(gradients: dict[str, Tensor], keep: Masks) -> dict[str, Tensor]:
    """Return g * M for every tensor with a mask, and the others unchanged."""
    if not keep or not next(iter(keep.values())).is_cuda:
        return {name: g * keep[name] if name in keep else g for name, g in gradients.items()}
    own = [gradients[name] for name in keep]
    packing = packing_of(own)
    flags = torch.zeros((packing.rows, CHUNK), dtype=torch.bool, device=own[0].device)
    rows = packing.packed(own)
    torch._foreach_copy_(packing.views(flags), list(keep.values()))
    return gradients | dict(zip(keep, packing.views(rows * flags), strict=True))


def chosen(names: list[str], include: list[str], exclude: list[str]) -> list[str]:
    """Return the names that match a pattern of `include` and none of `exclude` (shell wildcards)."""

    def hit(name: str, patterns: list[str]) -> bool:
        return any(fnmatch(name, pattern) for pattern in patterns)

    return [name for name in names if hit(name, include) and not hit(name, exclude)]
