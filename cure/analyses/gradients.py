"""The size of the gradients of training: the mean |g| of each layer's weights, in each phase of the training.

    magnitude (share of the schedule, layer); dims: 4 a convolution, 2 a linear map, 1 a batch norm

g is the gradient that the optimiser gets, masks included: with the method's own attack, loss and mask, in training
mode, on the same images in every phase. It is a mean over batches. Gowda et al., ICLR 2024, Fig. 6a, shows it over
iterations.
"""

import torch

from cure.core.analysis import Analysis, AnalysisResult, Phase, Subject, by_layer, dimensions, per_layer, replayable
from cure.core.tensors import Tensor
from cure.settings.base import Settings


class Hyper(Settings):
    """No settings; images, batches and phases are given."""


def magnitudes(phase: Phase) -> Tensor:
    """Return (layers): the mean |g| of each layer in one phase."""
    each = [per_layer(replay.gradients, lambda g: g.abs().mean()) for replay in phase.replays()]
    return torch.stack(each).mean(dim=0)


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return `magnitude` and `dims`, each (phases, layers)."""
    phases, weights = subject.phases, subject.phases[0].weights
    dims = dimensions(weights).expand(len(phases), -1)
    found = {"magnitude": torch.stack([magnitudes(phase) for phase in phases]), "dims": dims}
    return AnalysisResult(found, {"share": [phase.share for phase in phases], "layer": list(by_layer(weights))})


ANALYSIS = Analysis(measure, replayable)
