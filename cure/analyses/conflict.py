"""Gradient conflict: whether a step that lowers the clean loss also lowers the adversarial one, layer by layer.

    cosine = <g, g'> / (|g| |g'|),   g = d CE(f(x), y) / dW,   g' = d CE(f(x'), y) / dW      of each layer's weights W
    opposed = the share of W in which g and g' differ in sign
    dims: 4 a convolution, 2 a linear map, 1 a batch norm

All have the axis (layer). They are computed per batch in eval mode, and averaged over batches. The two cross-entropies
are those of CURE's Eq. (6) for every method, so methods are comparable whatever objective they were trained with.
"""

import torch
from torch.linalg import vector_norm as norm

from cure.core.analysis import Analysis, AnalysisResult, Subject, by_layer, dimensions, every, per_layer
from cure.nn.gradients import gradients
from cure.nn.losses import cross_entropy
from cure.settings.base import Settings


class Hyper(Settings):
    """No settings; images and batches are those of the section."""


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return `cosine`, `opposed` and `dims`, each (layers), as means over batches."""
    weights, net = dict(subject.net.named_parameters()), subject.net
    cosines, opposed = [], []
    for x, x_adv, y in subject.pairs(subject.batch):
        g, h = (gradients(cross_entropy(net(images), y).mean(), weights) for images in (x, x_adv))
        products, (one, other) = {name: g[name] * h[name] for name in weights}, (per_layer(v, norm) for v in (g, h))
        cosines.append(per_layer(products, torch.sum) / (one * other))
        opposed.append(per_layer(products, lambda product: (product < 0).float().mean()))
    found = {"cosine": torch.stack(cosines).mean(dim=0), "opposed": torch.stack(opposed).mean(dim=0)}
    return AnalysisResult(found | {"dims": dimensions(weights)}, {"layer": list(by_layer(weights))})


ANALYSIS = Analysis(measure, every)
