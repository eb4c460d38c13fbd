"""A slice of the loss around images: along the adversarial direction, and along random signs.

    loss, wrong (adversarial, random) = mean CE, and share of misclassified images, at
    clip(x + a (x' - x) + b eps r, to [0, 1]),   r random signs per image;   a and b as multiples of the radius

Both are means over a few images. A smooth, even rise along a is evidence against gradient masking.
"""

from typing import Annotated

import torch
from pydantic import Field

from cure.core.analysis import Analysis, AnalysisResult, Subject, every
from cure.nn.losses import cross_entropy
from cure.settings.base import Count, Positive, Settings


class Hyper(Settings):
    """Settings: number of images, points along either direction, and their reach."""

    images: Count
    points: Annotated[Count, Field(le=1024)]  # in each direction; their square is drawn
    reach: Positive  # in radii


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Compute loss and error of all images, one point after the other."""
    net, batch = subject.net, subject.few(hyper.images)
    way = subject.perturb(batch) - batch.x
    signs = subject.eps * subject.few(hyper.images).noise.uniform(batch.x, 1.0).sign()
    along = torch.linspace(0, hyper.reach, hyper.points).tolist()
    across = torch.linspace(-hyper.reach, hyper.reach, hyper.points).tolist()
    losses, wrong = [], []
    with torch.no_grad():
        for a in along:
            for b in across:
                z = net((batch.x + a * way + b * signs).clamp(0, 1))
                losses.append(cross_entropy(z, batch.y).mean())
                wrong.append((z.argmax(dim=1) != batch.y).float().mean())
    found = {"loss": torch.stack(losses), "wrong": torch.stack(wrong)}
    shape = (hyper.points, hyper.points)
    axes = {"adversarial": [round(a, 6) for a in along], "random": [round(b, 6) for b in across]}
    return AnalysisResult({name: values.reshape(shape) for name, values in found.items()}, axes)


ANALYSIS = Analysis(measure, every)
