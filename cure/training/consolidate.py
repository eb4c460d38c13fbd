"""Produce the evaluated network from a training checkpoint or from another method's network: the stage `revise`."""

import json
from collections.abc import Iterator
from typing import Any

from torch import nn

from cure.core.method import Batch, Consolidation, Method, TrainingPosition
from cure.core.noise import PerImage, Stream, seed_for
from cure.core.tensors import Flags
from cure.data import prepared
from cure.data.loader import Loader, as_float
from cure.nn.folding.folded_copy import chosen_layout
from cure.nn.memory_format import FORMATS
from cure.runtime import device
from cure.runtime.memory import fitting
from cure.settings.base import Augment, Settings
from cure.settings.params import Params
from cure.settings.sections import RunSettings, Train
from cure.storage import checkpoint, paths, provenance
from cure.storage.files import write_text
from cure.storage.paths import Run
from cure.storage.training_checkpoint import load_training_checkpoint, networks
from cure.training.job import parent
from cure.training.validation import told, validated, validation


def consolidate(run: Run, method: Method, hyper: Settings, train: Train, params: Params) -> str:
    """Apply `select_network`; write the network, its report and its provenance; return its validation accuracies."""
    run_settings = params.get("run", RunSettings)
    where = device.set_up(run_settings)
    source = prepared.load(paths.data(run.dataset), ("train", "val"), where)
    if method.revise is None:
        about, net = parent(run.of(params.role("robust")).weights, run, source.digest, "robust")
        nets: dict[str, Any] = {"robust": net}
    else:
        about, states = load_training_checkpoint(run, source.digest)
        nets = dict(networks(about, states, run.training_checkpoint, method))
    x = as_float(source.splits["val"].images[: train.batch])
    for net in nets.values():
        net.to(where).to(memory_format=FORMATS[chosen_layout(net, x, run_settings.layout)])
    augment = params.get(f"datasets.{run.dataset}.augment", Augment)
    loader = Loader(source.splits["train"], train.batch, augment, run.seed)

    def batches(epoch: int) -> Iterator[Batch]:
        noise = Stream(seed_for(run.seed, epoch, "revise"), where)
        return (Batch(x, y, index, noise, TrainingPosition(epoch)) for x, y, index in loader.epoch(epoch))

    def score(net: nn.Module) -> dict[str, float]:
        return validation(net, source.splits["val"], train, run.seed)

    def correct(net: nn.Module, draw: int) -> dict[str, Flags]:
        return validated(net, source.splits["val"], train, seed_for(run.seed, "draw", draw))

    val = [Batch(x, y, i, PerImage(run.seed, i)) for x, y, i in source.splits["val"].batches(train.batch)]
    assert method.select_network is not None
    epochs = {"last": about.epoch, "best": about.best_epoch, "average": about.average_epoch}
    with fitting("train.batch", train.batch):
        final, epoch, report = method.select_network(Consolidation(nets, epochs, batches, val, score, correct), hyper)
    scores = {f"val_{name}": value for name, value in score(final).items()}
    changes = {"kind": "network", "method": run.method, "epoch": epoch, "validation": scores}
    described = about.model_copy(update=changes | {"params": params.as_text()})
    checkpoint.save(run.weights, {"": final.state_dict()}, described)
    write_text(run.result("revise"), json.dumps(report, indent=1, sort_keys=True) + "\n")
    provenance.write(run.provenance("revise"), run_settings, where, epochs=report.get("epochs", about.epoch))
    return f"network of epoch {epoch}, {told(scores, train)}"
