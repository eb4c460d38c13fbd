"""The distance of an image's adversarial representation from its clean one, at every batch norm.

    distance = 1 - cos(z', z),   relative = |z' - z| / |z|,   z the spatial mean of the ReLU of the batch norm's output

Both have the axis (layer) and are means over images, in the evaluated network, whose one set of batch norms takes x and
x'. AR-AT regularises z: Waseda et al., ICLR 2025.
"""

import torch

from cure.core.analysis import Analysis, AnalysisResult, Subject, every
from cure.core.tensors import Images, Tensor
from cure.nn.activations import pooled
from cure.nn.batchnorm import batch_norms
from cure.nn.losses import cosine_distance
from cure.settings.base import Settings


class Hyper(Settings):
    """No settings; images are those of the section."""


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return `distance` and `relative`, each (layers), as means over all images."""
    names = list(batch_norms(subject.net))

    def representations(x: Images) -> list[Tensor]:
        with torch.no_grad():
            return list(pooled(subject.net, x, names)[1].values())

    cosines, ways = [], []
    for x, x_adv, _ in subject.pairs(subject.batch):
        both = list(zip(representations(x), representations(x_adv), strict=True))
        cosines.append(torch.stack([cosine_distance(z_adv, z) for z, z_adv in both]))
        ways.append(torch.stack([(z_adv - z).norm(dim=1) / z.norm(dim=1).clamp(min=1e-12) for z, z_adv in both]))
    found = {"distance": torch.cat(cosines, dim=1).mean(dim=1), "relative": torch.cat(ways, dim=1).mean(dim=1)}
    return AnalysisResult(found, {"layer": names})


ANALYSIS = Analysis(measure, every)
