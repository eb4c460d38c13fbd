"""The smallest perturbations that change the prediction of a few images, and the gradients of the loss in them.

    image, adversarial (n, c, h, w) in [0, 1]; distance (n), the L-inf norm of their difference; label (n);
    predicted, fooled (n), on the image and on the adversarial one; gradient (n, c, h, w), d CE(f(x), y) / dx

FMN finds them (adversarial/minimum_norm.py), so the distances are upper bounds. The distance is 0 for a misclassified
image, and NaN where FMN found nothing. All methods get the same images. Gowda et al., ICLR 2024, Fig. 8, does not name
its attack.
"""

import math
from typing import Any

import torch

from cure.adversarial.minimum_norm import fmn
from cure.core.analysis import Analysis, AnalysisResult, Subject, every
from cure.core.attack import distance
from cure.nn.losses import cross_entropy
from cure.settings.base import Count, Positive, Settings, Share


class Hyper(Settings):
    """Settings: number of images, and FMN's settings."""

    images: Count
    steps: Count
    step: Positive  # length of the first step in the L2 norm
    gamma: Share  # relative change of the radius in the first steps


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return the images with their nearest adversarial ones."""
    batch, net = subject.few(hyper.images), subject.net
    adversarial = fmn(net, batch.x, batch.y, steps=hyper.steps, step=hyper.step, gamma=hyper.gamma)
    x = batch.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(net(x), batch.y).sum(), x)
    with torch.no_grad():
        predicted, fooled = (net(images).argmax(dim=1) for images in (batch.x, adversarial))
    found: dict[str, Any] = {"image": batch.x, "adversarial": adversarial, "gradient": gradient}
    found |= {"distance": distance(adversarial, batch.x, "linf").where(fooled != batch.y, math.nan)}
    return AnalysisResult(found | {"label": batch.y, "predicted": predicted, "fooled": fooled}, {})


ANALYSIS = Analysis(measure, every)
