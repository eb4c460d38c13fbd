"""The distance of an image's adversarial representation from its clean one, at every batch norm.

    distance = 1 - cos(z', z),   relative = |z' - z| / |z|,   z the spatial mean of the ReLU of the batch norm's output

Both have the axis (layer) and are means over images, in the evaluated network, whose one set of batch norms takes x and
x'. AR-AT regularises z: Waseda et al., ICLR 2025.
"""

import torch
import torch.nn.functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from cure.core.analysis import Analysis, AnalysisResult, Subject, every
from cure.core.tensors import Images, Tensor
from cure.nn.activations import tapping
from cure.settings.base import Settings


class Hyper(Settings):
    """No settings; images are those of the section."""


def pooled(h: Tensor) -> Tensor:
    """Return the spatial mean of the ReLU, (n, c)."""
    return F.relu(h).mean(dim=(2, 3))


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return `distance` and `relative`, each (layers), as means over all images."""
    net = subject.net
    names = [name for name, module in net.named_modules() if isinstance(module, _BatchNorm)]

    def representations(x: Images) -> list[Tensor]:
        with torch.no_grad(), tapping(net, names, pooled) as found:
            net(x)
        return [found[name] for name in names]

    cosines, ways = [], []
    for x, x_adv, _ in subject.pairs(subject.batch):
        both = list(zip(representations(x), representations(x_adv), strict=True))
        cosines.append(torch.stack([1 - F.cosine_similarity(z_adv, z, dim=1) for z, z_adv in both]))
        ways.append(torch.stack([(z_adv - z).norm(dim=1) / z.norm(dim=1).clamp(min=1e-12) for z, z_adv in both]))
    found = {"distance": torch.cat(cosines, dim=1).mean(dim=1), "relative": torch.cat(ways, dim=1).mean(dim=1)}
    return AnalysisResult(found, {"layer": names})


ANALYSIS = Analysis(measure, every)
