"""CURE's mask during training: the share of each layer that a step updates, in each phase of the training.

    per_tensor, network_wide   share of a layer's weights whose score reaches the p-th percentile of their tensor, of
                               the network: the method's own score, the other threshold beside the one it trains with
    moved                      share of them that are among the weights that move most until the next phase: |delta w|
                               reaches its p-th percentile over the network; NaN at the end

All have axes (share of the schedule, layer), for the layers that the mask reaches; dims: 4 a convolution, 1 a batch
norm. They are means over batches. Gowda et al., ICLR 2024, Figs. 6b and 10: a threshold per tensor leaves every layer
the same share, so their picture needs the network's threshold.
"""

import math
from itertools import pairwise

import torch

from cure.core.analysis import Analysis, AnalysisResult, Phase, Subject, by_layer, dimensions, per_layer, replayable
from cure.core.method import Method
from cure.core.tensors import Tensor
from cure.nn.masks import Masks, chosen, masks
from cure.settings.base import Settings


class Hyper(Settings):
    """No settings; p is the method's."""


def suits(method: Method) -> bool:
    """Accept methods with a mask of their own."""
    return "rgp" in method.shows and replayable(method)


def density(keep: Masks) -> Tensor:
    """Return (layers): the share of weights that are kept."""
    return per_layer(keep, lambda mask: mask.float().mean())


def thresholded(score: dict[str, Tensor], conserved: float) -> tuple[Masks, Masks]:
    """Return the masks of a threshold per tensor, and of one for the network."""
    return masks(score, conserved, "layer"), masks(score, conserved, "global")


def updated(phase: Phase, conserved: float) -> Tensor | None:
    """Return (2, layers): the shares under either threshold, or None before the method has a mask."""
    scores = (replay.shown["rgp"]["score"] for replay in phase.replays() if "rgp" in replay.shown)
    found = [torch.stack([density(keep) for keep in thresholded(score, conserved)]) for score in scores]
    return torch.stack(found).mean(dim=0) if found else None


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return the module's arrays, one row for each phase."""
    method, phases = subject.hyper, subject.phases
    reached = chosen(list(phases[0].weights), method.include, method.exclude)
    weights = [{name: phase.weights[name].detach() for name in reached} for phase in phases]
    none = torch.full((2, len(by_layer(reached))), math.nan, device=subject.x.device)
    each = [updated(phase, method.p / 100) for phase in phases]
    shares = torch.stack([none if one is None else one for one in each])
    lengths = [{name: (after[name] - before[name]).abs() for name in reached} for before, after in pairwise(weights)]
    moved = [density(masks(length, method.p / 100, "global")) for length in lengths]
    found = {
        "per_tensor": shares[:, 0],
        "network_wide": shares[:, 1],
        "moved": torch.stack([*moved, none[0]]),
        "dims": dimensions(weights[0]).expand(len(phases), -1),
    }
    return AnalysisResult(found, {"share": [phase.share for phase in phases], "layer": list(by_layer(reached))})


ANALYSIS = Analysis(measure, suits)
