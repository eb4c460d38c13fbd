"""From a trajectory, or from another row's network, to the one that is evaluated: the engine of the stage revise."""

import json
from collections.abc import Iterator
from typing import Any

from torch import nn

from cure.core.method import Batch, Consolidation, Method
from cure.core.noise import PerImage, Stream, seed_for
from cure.data import prepared
from cure.data.loader import Loader, as_float
from cure.nn.folding import FORMATS, settled
from cure.runtime import device
from cure.runtime.memory import fitting
from cure.settings.base import Augment, Settings
from cure.settings.params import Params
from cure.settings.sections import RunSettings, Train
from cure.storage import checkpoint, paths, provenance
from cure.storage.files import write_text
from cure.storage.paths import Cell
from cure.storage.training_checkpoint import networks, trajectory
from cure.training.job import parent
from cure.training.loop import validation


def consolidate(cell: Cell, method: Method, hyper: Settings, train: Train, params: Params) -> None:
    """Apply `finish` and write the network, its report and its sidecar."""
    run = params.get("run", RunSettings)
    where = device.set_up(run)
    source = prepared.load(paths.data(cell.dataset), ("train", "val"), where)
    if method.revise is None:
        about, net = parent(cell.of(params.role("robust")).weights, cell, source.digest, "robust")
        nets: dict[str, Any] = {"robust": net}
    else:
        about, states = trajectory(cell, source.digest)
        nets = dict(networks(about, states, cell.trajectory, method.prepare))
    x = as_float(source.splits["val"].images[: train.batch])
    for net in nets.values():
        net.to(where).to(memory_format=FORMATS[settled(net, x, run.layout)])
    augment = params.get(f"datasets.{cell.dataset}.augment", Augment)
    loader = Loader(source.splits["train"], train.batch, augment, cell.seed)

    def batches(epoch: int) -> Iterator[Batch]:
        noise = Stream(seed_for(cell.seed, epoch, "revise"), where)
        return (Batch(x, y, index, noise, epoch) for x, y, index in loader.epoch(epoch))

    def score(net: nn.Module) -> dict[str, float]:
        return validation(net, source.splits["val"], train, cell.seed)

    val = [Batch(x, y, i, PerImage(cell.seed, i)) for x, y, i in source.splits["val"].batches(train.batch)]
    assert method.finish is not None
    epochs = {"last": about.epoch, "best": about.best_epoch}
    with fitting("train.batch", train.batch):
        final, epoch, report = method.finish(Consolidation(nets, epochs, batches, val, score), hyper)
    scores = {f"val_{name}": value for name, value in score(final).items()}
    changes = {"kind": "network", "method": cell.method, "epoch": epoch, "validation": scores}
    described = about.model_copy(update=changes | {"params": params.as_text()})
    checkpoint.save(cell.weights, {"": final.state_dict()}, described)
    write_text(cell.result("revise"), json.dumps(report, indent=1, sort_keys=True) + "\n")
    provenance.write(cell.provenance("revise"), run, where, epochs=report.get("epochs", about.epoch))
