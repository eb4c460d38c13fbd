"""What a method that weighs pixels attacks with its full radius: PART's maps and masks on a few images.

    image (n, c, h, w) in [0, 1]; map (n, 1, h, w) in [0, 1]; full (n, 1, h, w), 1 where the full radius holds;
    label, predicted (n)

The method's own search runs, and a watcher takes the masks that it shows, so they are those of training
behind its warm-up.
"""

import dataclasses
from typing import Any

import torch

from cure.core.analysis import Analysis, Subject
from cure.core.method import Networks
from cure.core.tensors import Tensor
from cure.errors import Refused


def measure(subject: Subject) -> dict[str, Tensor]:
    """The images with their maps, masks, labels and predictions."""
    shown: dict[str, Any] = {}
    batch = dataclasses.replace(subject.batch, watch=shown.__setitem__)
    if subject.method.inner is not None and not subject.method.teachers and subject.method.companions is None:
        subject.method.inner(Networks(subject.net, {}, {}), batch, subject.hyper)
    if "masks" not in shown:
        raise Refused(f"{subject.method.cite}: shows no masks; grid.analyse_masks takes rows that do, such as part")
    with torch.no_grad():
        predicted = subject.net(batch.x).argmax(dim=1)
    return {"image": batch.x, "label": batch.y, "predicted": predicted, **shown["masks"]}


ANALYSIS = Analysis(measure)
