"""Whether the mask keeps choosing the same weights: Jaccard overlap of masks between phases of the training.

    jaccard = |A and B| / |A or B|   of the masks A, B of one layer, in two phases on the same batch; of one phase with
                                     itself, on two successive batches
    chance  = a b / (a + b - a b)    of independent masks with the densities a, b

Both have axes (share of the schedule, other share, layer) and are means over batches, NaN where the method has no mask
yet. Gowda et al., ICLR 2024, write that weights differ from step to step and give no number.
"""

import math
from itertools import pairwise
from typing import Any

import torch

from cure.core.analysis import Analysis, AnalysisResult, Phase, Subject, by_layer, per_layer, replayable
from cure.core.method import Method
from cure.core.tensors import Tensor
from cure.nn.masks import Masks, chosen
from cure.settings.base import Settings


class Hyper(Settings):
    """No settings; images, batches and phases are given."""


def suits(method: Method) -> bool:
    """Accept methods with a mask of their own."""
    return "rgp" in method.shows and replayable(method)


def overlap(a: Masks, b: Masks) -> Tensor:
    """Return (2, layers): Jaccard overlap, and that of chance."""

    def share(keep: Masks) -> Tensor:
        return per_layer(keep, lambda mask: mask.double().mean())

    one, other, both = share(a), share(b), share({name: a[name] & b[name] for name in a})
    either = one + other - both
    return torch.stack([both / either, one * other / (one + other - one * other)])


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Compare every phase with every phase."""
    kept, phases = [own(phase) for phase in subject.phases], [phase.share for phase in subject.phases]
    layers = list(by_layer(chosen(list(subject.phases[0].weights), subject.hyper.include, subject.hyper.exclude)))
    none = torch.full((2, len(layers)), math.nan, device=subject.x.device, dtype=torch.float64)

    def mean(pairs: list[tuple[Masks, Masks]]) -> Tensor:
        return torch.stack([overlap(a, b) for a, b in pairs]).mean(dim=0) if pairs else none

    def pairs(i: int, j: int) -> list[tuple[Masks, Masks]]:
        return list(pairwise(kept[i])) if i == j else list(zip(kept[i], kept[j], strict=False))

    places = range(len(phases))
    found = torch.stack([torch.stack([mean(pairs(i, j)) for j in places]) for i in places])
    axes: dict[str, list[Any]] = {"share": phases, "other": phases, "layer": layers}
    return AnalysisResult({"jaccard": found[:, :, 0], "chance": found[:, :, 1]}, axes)


def own(phase: Phase) -> list[Masks]:
    """Return the method's masks on each batch; the list is empty before it has any."""
    return [replay.shown["rgp"]["mask"] for replay in phase.replays() if "rgp" in replay.shown]


ANALYSIS = Analysis(measure, suits)
