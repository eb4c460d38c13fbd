"""Reliability: how often the network is right at each confidence, on clean and on adversarial images.

    images = share of all images in the bin;   accuracy, confidence = means over its images, 0 where it has none
    ECE = sum over bins of images * |accuracy - confidence|

All have axes (view, bin). Bins have equal width over [0, 1], and confidence is the largest probability. Guo et al.,
ICML 2017.
"""

from typing import Annotated

import torch
from pydantic import Field

from cure.core.analysis import Analysis, AnalysisResult, Subject, every
from cure.core.tensors import Images, Labels, Tensor
from cure.settings.base import Count, Settings


class Hyper(Settings):
    """Settings: number of bins."""

    bins: Annotated[Count, Field(le=1024)]  # a matrix has an entry for every image and bin


def reliability(p: Tensor, y: Labels, bins: int) -> Tensor:
    """Return (3, bins): share of images, accuracy and confidence of probabilities (n, k)."""
    confidence, predicted = p.double().max(dim=1)
    places = (confidence * bins).long().clamp(max=bins - 1)
    members = torch.nn.functional.one_hot(places, bins).double()  # (n, bins)
    counts = members.sum(dim=0)
    sums = torch.stack([(predicted == y).double(), confidence]) @ members
    return torch.cat([counts[None] / len(y), sums / counts.clamp(min=1)])


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return `images`, `accuracy` and `confidence`, each (view, bin), on all images."""

    def probabilities(images: Images) -> Tensor:
        with torch.no_grad():
            return torch.cat([subject.net(part).softmax(dim=1) for part in torch.split(images, subject.batch)])

    views = {"clean": subject.x, "adversarial": subject.x_adv}
    both = torch.stack([reliability(probabilities(x), subject.y, hyper.bins) for x in views.values()])
    found = {"images": both[:, 0], "accuracy": both[:, 1], "confidence": both[:, 2]}
    return AnalysisResult(found, {"view": list(views), "bin": list(range(1, hyper.bins + 1))})


ANALYSIS = Analysis(measure, every)
