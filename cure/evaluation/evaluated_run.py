"""Load the network and the test images of an evaluation in the pipeline."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from cure.data import prepared
from cure.data.loader import Split
from cure.errors import UserError
from cure.settings.params import Params
from cure.settings.sections import RunSettings, Suite
from cure.storage import checkpoint, paths
from cure.storage.checkpoint import Description
from cure.storage.paths import Run


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluated network of the pipeline and its test images."""

    about: Description
    net: nn.Module
    split: Split
    run_settings: RunSettings
    device: torch.device


def evaluated(run: Run, params: Params, suite: Suite, set_up: Callable[[RunSettings], torch.device]) -> EvaluatedRun:
    """Load the network of `run` on the device that `set_up` returns, and as many test images as the suite sets."""
    run_settings = params.get("run", RunSettings)
    where = set_up(run_settings)
    about, states = checkpoint.load(run.weights)
    if "" not in states:
        raise UserError(f"{run.weights}: is a training checkpoint, not one network; run `dvc repro`")
    for what, found, wanted in (("model", about.model, run.model), ("method", about.method, run.method)):
        if found != wanted:
            raise UserError(f"{run.weights}: its {what} is {found}, but {run.name} needs {wanted}; run `dvc repro`")
    source = prepared.load(paths.data(run.dataset), ("test",), where)
    net = checkpoint.network(about, states[""], run.weights).to(where)
    return EvaluatedRun(about, net, test_split(about, source, suite.images), run_settings, where)


def test_split(about: Description, source: prepared.Data, images: int) -> Split:
    """Return `images` evenly spaced test images; raise UserError for other data than the network was trained on."""
    if source.digest != about.data_digest:
        raise UserError(
            f"{source.path}: not the file that these weights were trained with (its sha256 differs); use that file, or "
            f"train again"
        )
    return source.splits["test"].evenly_spaced(images)
