"""From a trajectory to one network: the engine of the stage revise."""

import json
from collections.abc import Iterator

from torch import nn

from cure import paths
from cure.core.method import Batch, Consolidation, Finish
from cure.core.noise import PerImage
from cure.core.settings import Settings
from cure.engine import checkpoint, data, device, provenance
from cure.engine.fit import validation
from cure.errors import Refused
from cure.files import write_text
from cure.paths import Cell
from cure.schema import Run, Train


def consolidate(cell: Cell, finish: Finish, hyper: Settings, train: Train, run: Run) -> None:
    """Apply `finish` to the cell's trajectory and write the network, its report and its sidecar."""
    where = device.set_up(run)
    about, states = checkpoint.load(cell.trajectory)
    for what, found, wanted in (("content", about.kind, "trajectory"), ("method", about.method, cell.method)):
        if found != wanted:
            raise Refused(f"{cell.trajectory}: its {what} is {found}, but the revision of {cell.name} needs {wanted}")
    source = data.load(paths.data(cell.dataset), ("train", "val"), where)
    if source.digest != about.data_digest:
        raise Refused(f"{source.path}: not the file that {cell.trajectory} was trained with (its sha256 differs)")

    def batches() -> Iterator[Batch]:
        for x, y, index in source.splits["train"].batches(train.batch):
            yield Batch(x, y, index, PerImage(cell.seed, index))

    def score(net: nn.Module) -> dict[str, float]:
        return validation(net, source.splits["val"], train, cell.seed)

    nets: dict[str, nn.Module] = {
        name: checkpoint.network(about, state, cell.trajectory).to(where) for name, state in states.items()
    }
    epochs = {"last": about.epoch, "best": about.best_epoch}
    net, epoch, report = finish(Consolidation(nets, epochs, batches, score), hyper)
    scores = {f"val_{name}": value for name, value in score(net).items()}
    described = about.model_copy(update={"kind": "network", "epoch": epoch, "validation": scores})
    checkpoint.save(cell.weights, {"": net.state_dict()}, described)
    write_text(cell.result("revise"), json.dumps(report, indent=1, sort_keys=True) + "\n")
    provenance.write(cell.provenance("revise"), run, where)
