"""The pixels that PART attacks with its full radius: maps and masks on a few images.

    image (n, c, h, w) in [0, 1]; map (n, 1, h, w) in [0, 1]; full (n, 1, h, w), 1 where the full radius holds;
    label, predicted (n)

The method's own attack runs on the evaluated network, and `watch` records the masks that it shows. So they are those of
training after its warm-up.
"""

import dataclasses
from typing import Any

import torch

from cure.core.analysis import Analysis, AnalysisResult, Subject
from cure.core.method import Method, Networks
from cure.settings.base import Count, Settings


class Hyper(Settings):
    """Settings: number of images."""

    images: Count


def suits(method: Method) -> bool:
    """Accept methods whose attack needs only their own network and records masks."""
    return "masks" in method.shows and method.attack is not None and not method.teachers and method.companions is None


def measure(subject: Subject, hyper: Hyper) -> AnalysisResult:
    """Return the images with their maps, masks, labels and predictions."""
    shown: dict[str, Any] = {}
    batch = dataclasses.replace(subject.few(hyper.images), watch=shown.__setitem__)
    assert subject.method.attack is not None
    subject.method.attack(Networks(subject.net, {}, {}), batch, subject.hyper)
    with torch.no_grad():
        predicted = subject.net(batch.x).argmax(dim=1)
    return AnalysisResult({"image": batch.x, "label": batch.y, "predicted": predicted, **shown["masks"]}, {})


ANALYSIS = Analysis(measure, suits)
