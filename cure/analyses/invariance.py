"""The conflict that AR-AT is built on: whether pulling clean and adversarial representations together opposes classes.

    g = d mean [CE(f(x), y) + CE(f(x'), y)] / dW
    h = d D_l / dW,   D_l = mean [1 - cos(z'_l, z_l)],   z_l the spatial mean of the ReLU of batch norm l
    cosine = <g, h> / (|g| |h|),   opposed = the share of W in which g and h differ in sign

W are the weights that z_l depends on. `pulled` is the side that D_l may move. `adversarial` is AR-AT's D(z', sg z). Its
stop-gradient sg removes `clean`, D(sg z', z). `both` is the naive D(z', z), whose gradient is the sum of the two. All
have the axes (layer, pulled). They are computed per batch in eval mode, without AR-AT's predictor, and averaged over
batches. Waseda et al., ICLR 2025.
"""

from itertools import compress

import torch
import torch.nn.functional as F
from torch.autograd import grad

from cure.core.analysis import Analysis, AnalysisResult, Subject, every
from cure.core.tensors import Tensor
from cure.nn.activations import pooled
from cure.nn.batchnorm import batch_norms
from cure.nn.losses import cosine_distance, cross_entropy
from cure.settings.base import Settings

PULLED = ["adversarial", "clean", "both"]


class Hyper(Settings):
    """No settings; images and batches are those of the section."""


def compared(g: Tensor, h: Tensor) -> Tensor:
    """Return (2): the cosine of two gradients, and the share of weights in which they differ in sign."""
    return torch.stack([F.cosine_similarity(g, h, dim=0), (g * h < 0).to(g.dtype).mean()])


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return `cosine` and `opposed`, each (layers, pulled), as means over batches."""
    net, weights = subject.net, list(subject.net.parameters())
    taps, found = list(batch_norms(net)), list[Tensor]()

    def pull(moved: Tensor, towards: Tensor) -> tuple[Tensor | None, ...]:
        apart = cosine_distance(moved, towards.detach()).mean()
        return grad(apart, weights, retain_graph=True, allow_unused=True)

    for x, x_adv, y in subject.pairs(subject.batch):
        (clean, z), (adv, z_adv) = (pooled(net, images, taps) for images in (x, x_adv))
        g = grad((cross_entropy(clean, y) + cross_entropy(adv, y)).mean(), weights, retain_graph=True)
        layers = []
        for tap in taps:
            sides = pull(z_adv[tap], z[tap]), pull(z[tap], z_adv[tap])
            reached = [part is not None for part in sides[0]]
            own = torch.cat([part.flatten() for part in compress(g, reached)])
            a, b = (torch.cat([part.flatten() for part in side if part is not None]) for side in sides)
            layers.append(torch.stack([compared(own, h) for h in (a, b, a + b)]))
        found.append(torch.stack(layers))
    cosine, opposed = torch.stack(found).mean(dim=0).unbind(dim=2)
    return AnalysisResult({"cosine": cosine, "opposed": opposed}, {"layer": taps, "pulled": PULLED})


ANALYSIS = Analysis(measure, every)
