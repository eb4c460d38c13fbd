"""Execute one training run from its inputs to its files, for the stages `pretrain` and `update`."""

import csv
import io
from typing import Any, Literal

from cure.core.method import Networks
from cure.data import prepared
from cure.runtime import distributed, torchrun
from cure.runtime.memory import fitting
from cure.runtime.progress import progress
from cure.storage import checkpoint, paths, provenance
from cure.storage.checkpoint import Description, State
from cure.storage.files import write_text
from cure.storage.resume import Scratch
from cure.training.job import Job
from cure.training.kept import TrainingCheckpoint
from cure.training.loop import Task, train
from cure.training.validation import told


def execute(job: Job) -> str:
    """Train, or finish an interrupted run, and write the curve, the networks and the provenance file.

    If the method has a `select_network`, the stage `revise` writes its evaluated network; otherwise this function does.
    The resume file is deleted when all outputs are on disk. With several ranks, the first one locks the run, saves and
    writes.

    Returns:
        The chosen epoch and its validation accuracies as text; '' on other ranks than the first.
    """
    where = torchrun.set_up(job.run_settings)
    source = prepared.load(paths.data(job.run.dataset), ("train", "val"), where)
    nets = torchrun.synchronised(job.assemble(source).to(where), job.run_settings)
    task = Task(job, nets, source.splits["train"], source.splits["val"], where)
    scratch = Scratch(job.stage, job.run.name, job.params.as_text(), [source.path, *job.parents()])
    with torchrun.alone(scratch.locked):
        key = "pretrain.batch" if job.stage == "pretrain" else "train.batch"
        with (
            progress(f"{job.stage} {job.run.name}", job.fit.epochs, unit="epoch") as on_progress,
            fitting(key, job.fit.batch),
        ):
            kept = train(task, scratch, on_progress)
        if distributed.rank() > 0:
            return ""
        states = networks(job, nets, kept)
        described = description(job, source, kept, "trajectory")
        checkpoint.save(job.run.training_checkpoint, states | kept.snapshots, described)
        chosen = description(job, source, kept, "network")
        if job.method.select_network is None:
            checkpoint.save(job.run.weights, {"": states[job.fit.select]}, chosen)
        write_text(job.run.curve, curve(kept.history))
        provenance.write(job.run.provenance(job.stage), job.run_settings, where, epochs=job.fit.epochs)
        scratch.delete()
        return f"{job.fit.select} epoch {chosen.epoch} of {job.fit.epochs}, {told(chosen.validation, job.fit)}"


def networks(job: Job, nets: Networks, kept: TrainingCheckpoint) -> dict[str, State]:
    """Return the state dicts of a training checkpoint: `last`, the best ones, and companions.

    `last` is the evaluated network after the last epoch. Where the weight average is evaluated, the trained network
    keeps its own name.
    """
    states = {name: net.state_dict() for name, net in nets.items() if name not in job.method.teachers}
    averaged = job.fit.select == "average" and job.method.select_network is None
    last = states.pop("average" if averaged else job.method.evaluated)
    best = {name: best.weights for name, best in kept.named().items() if best.epoch}
    return {"last": last, "best": best["best"], **states, **best}


def description(
    job: Job, source: prepared.Data, kept: TrainingCheckpoint, kind: Literal["network", "trajectory"]
) -> Description:
    """Describe the training checkpoint, or the network that is chosen from it."""
    chosen = None if kind == "trajectory" else kept.named().get(job.fit.select)
    epoch = chosen.epoch if chosen else len(kept.history)
    prefix = "val_average_" if chosen is kept.average else "val_"
    row = kept.history[epoch - 1]
    scores = {f"val_{name}": row[prefix + name] for name in ("clean", "pgd") if prefix + name in row}
    return Description(
        kind=kind,
        model=job.run.model,
        settings=job.model.model_dump(),
        channels=source.channels,
        classes=source.classes,
        dataset=job.run.dataset,
        data_digest=source.digest,
        method=job.run.method,
        seed=job.run.seed,
        params=job.params.as_text(),
        epoch=epoch,
        best_epoch=kept.best.epoch,
        average_epoch=kept.average.epoch,
        validation=scores,
    )


def curve(history: list[dict[str, Any]]) -> str:
    """Format the history as CSV, one line per epoch, with empty cells where an epoch was not validated."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return out.getvalue()
