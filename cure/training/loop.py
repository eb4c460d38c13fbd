"""The epoch loop: train, validate, keep the best networks, and save the state to resume from."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn

from cure.adversarial.cuda_graphs import graphs
from cure.core.method import Batch, Networks, TrainingPosition
from cure.core.noise import Noise, Rows, Stream, seed_for
from cure.data.loader import Loader, Split, as_float
from cure.nn.folding.folded_copy import chosen_layout, compile_folded_copy
from cure.nn.memory_format import FORMATS
from cure.runtime import distributed
from cure.settings.base import Layout
from cure.storage.resume import Scratch
from cure.training.average import Average
from cure.training.job import Job
from cure.training.kept import TrainingCheckpoint, copied
from cure.training.sanity_checks import Row, check_finite, finite, pgd_has_no_effect
from cure.training.schedule import epoch_of, rate, rate_and_momentum, set_rate, sgd
from cure.training.step import Step
from cure.training.validation import validation


@dataclass(frozen=True)
class Task:
    """A job with its networks and data on a device."""

    job: Job
    nets: Networks
    train: Split
    val: Split
    device: torch.device

    @property
    def evaluated(self) -> nn.Module:
        """Return the network by which the method is evaluated."""
        found: nn.Module = self.nets[self.job.method.evaluated]
        return found


def train(task: Task, scratch: Scratch, on_progress: Callable[[str], None]) -> TrainingCheckpoint:
    """Run the remaining epochs of a training run.

    Args:
        task: the job; after the call its networks are those of the last epoch.
        scratch: the state to resume from, read at the start and saved after epochs.
        on_progress: called after each epoch with its validation accuracies as text.

    Returns:
        The history, the best networks and the snapshots.
    """
    job, fit, run_settings = task.job, task.job.fit, task.job.run_settings
    state = scratch.load()
    layout = state["layout"] if state else _layout(task)
    task.nets.to(memory_format=FORMATS[layout])
    for net in task.nets.values() if run_settings.compile else ():
        compile_folded_copy(net)
    optimizer = sgd(task.nets, fit)
    loader = Loader(task.train, fit.batch, job.augment, job.run.seed)
    average = Average(task.evaluated, fit, len(loader)) if fit.average is not None else None
    kept = TrainingCheckpoint()
    moving: dict[str, Any] = {name: net for name, net in task.nets.items() if name not in job.method.teachers}
    moving |= {"optimizer": optimizer} | ({"average": average.net} if average else {})
    if state:
        for name, part in moving.items():
            part.load_state_dict(state["moving"][name])
        kept = TrainingCheckpoint.resumed(state)
    step = Step(task.nets, job.method, job.hyper, optimizer, run_settings.precision)
    for _ in kept.history:
        on_progress("resumed")
    if not kept.history:
        _remember(task, 0, kept)
    with scratch.saver(set(state["parts"]) if state else set()) as saver, graphs(run_settings.graphs):
        for epoch in range(len(kept.history) + 1, fit.epochs + 1):
            past = kept.history[-1] if kept.history else {}
            row: Row = {"epoch": epoch, "lr": rate(fit, epoch, 0, len(loader))} | _epoch(
                task, step, loader, epoch, average, past
            )
            if epoch % fit.validate_every == 0 or epoch == fit.epochs:
                _watch(task, epoch, row, kept)
                if average is not None and epoch >= average.first_epoch:
                    _watch_average(task, loader, average, row, kept)
            kept.history.append(row)
            _remember(task, epoch, kept)
            if distributed.rank() == 0:
                states = {name: part.state_dict() for name, part in moving.items()}
                now = {"moving": states, "kept": kept.numbers(), "layout": layout}
                saver.save(now, kept.parts(), last=epoch == fit.epochs)
            on_progress(" ".join(f"{k} {v:.3f}" for k, v in row.items() if k.startswith("val_")))
    if average is not None:
        task.nets["average"] = average.net
    return kept


def _layout(task: Task) -> Layout:
    """Choose the memory format of this run. It is measured on the first images, so the next run may choose another."""
    x = as_float(task.train.images[: task.job.fit.batch])
    return distributed.agreed(chosen_layout(task.nets.student, x, task.job.run_settings.layout))


def _epoch(task: Task, step: Step, loader: Loader, epoch: int, average: Average | None, past: Row) -> Row:
    """Train for one pass over the training split; return the mean of each loss term over its images."""
    fit, seed, steps = task.job.fit, task.job.run.seed, len(loader)
    task.nets.ready()
    torch.manual_seed(seed_for(seed, epoch, "dropout"))
    noise = Stream(seed_for(seed, epoch, "noise"), task.device)
    done, sums = (epoch - 1) * steps, dict[str, torch.Tensor]()
    found = _ahead(task, loader, epoch)
    for i, (x, y, index) in enumerate(loader.epoch(epoch)):
        images, (lr, momentum) = loader.images(i), rate_and_momentum(fit, epoch, i, steps)
        set_rate(step.optimizer, lr, momentum)
        position = TrainingPosition(epoch, done + i, lr, steps, past, found, fit.epochs)
        batch = Batch(x, y, index, _draws(noise, images), position, images_on_other_ranks=images - len(y))
        means = step(batch)
        for name, mean in means.items():
            sums[name] = sums.get(name, torch.zeros_like(mean)) + mean * images
        if average is not None:
            average.follow(task.evaluated, done + i)
    # the only place in an epoch that waits for the device
    *totals, sound = torch.stack([*distributed.mean(list(sums.values())), finite(task.nets)]).tolist()
    row: Row = {name: total / len(loader.split) for name, total in zip(sums, totals, strict=True)}
    check_finite(epoch, row, task.nets, bool(sound))
    return row


def _draws(noise: Noise, images: int) -> Noise:
    """Return this rank's share of the random draws for a batch of this size."""
    return noise if distributed.count() == 1 else Rows(noise, distributed.rows(images), images)


def _ahead(task: Task, loader: Loader, epoch: int) -> dict[str, Any]:
    """Return the result of the method's slot `before_epoch`."""
    job = task.job
    if job.method.before_epoch is None:
        return {}
    noise = Stream(seed_for(job.run.seed, epoch, "noise before"), task.device)
    position = TrainingPosition(epoch, epochs=job.fit.epochs)
    batches = (Batch(x, y, index, noise, position) for x, y, index in loader.epoch(epoch, "batches before"))
    return job.method.before_epoch(task.nets, epoch, batches, job.hyper)


def _watch(task: Task, epoch: int, row: Row, kept: TrainingCheckpoint) -> None:
    """Add the evaluated network's validation accuracies to the row, and keep the network if it is the best so far."""
    found = validation(task.evaluated, task.val, task.job.fit, task.job.run.seed)
    scores: Row = {f"val_{name}": value for name, value in found.items()}
    if pgd_has_no_effect(scores, task.val) and not any(pgd_has_no_effect(row, task.val) for row in kept.history):
        print(f"epoch {epoch}: PGD changed no prediction, so gradients may be zero", file=sys.stderr, flush=True)
    row.update(scores)
    kept.best.see(epoch, found["pgd"], task.evaluated)


def _watch_average(task: Task, loader: Loader, average: Average, row: Row, kept: TrainingCheckpoint) -> None:
    """Estimate the average's statistics, add its validation accuracies to the row, and keep the best average."""
    job, epoch = task.job, int(row["epoch"])
    noise = Stream(seed_for(job.run.seed, epoch, "noise of statistics"), task.device)
    steps = len(loader)
    position = TrainingPosition(epoch, epoch * steps - 1, row["lr"], steps, row, epochs=job.fit.epochs)
    drawn = islice(loader.epoch(epoch, "statistics"), -(-job.fit.average_images // loader.batch))
    sizes = ((loader.images(i), found) for i, found in enumerate(drawn))
    batches = (
        Batch(*found, _draws(noise, images), position, images_on_other_ranks=images - len(found[1]))
        for images, found in sizes
    )
    average.estimate(task.nets, job.method, job.hyper, batches)
    found = validation(average.net, task.val, job.fit, job.run.seed)
    row.update({f"val_average_{name}": value for name, value in found.items()})
    kept.average.see(epoch, found["pgd"], average.net)


def _remember(task: Task, epoch: int, kept: TrainingCheckpoint) -> None:
    """Keep every network except teachers, if a snapshot is due after this epoch."""
    for share in task.job.fit.snapshots:
        if epoch_of(share, task.job.fit.epochs) == epoch:
            own = {name: net for name, net in task.nets.items() if name not in task.job.method.teachers}
            kept.snapshots |= {f"{share:g}/{name}": copied(net) for name, net in own.items()}
