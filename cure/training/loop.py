"""The epoch loop: train, watch the validation split, remember the best, survive being killed."""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cure.adversarial.cuda_graphs import graphs
from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Batch, Method, Networks, TrainingPosition
from cure.core.noise import Rows, Stream, seed_for
from cure.core.tensors import Flags
from cure.data.loader import Loader, Split, as_float
from cure.errors import UserError
from cure.evaluation.measure import accuracies, outcomes
from cure.nn.averaging import average_, snapshot, take_buffers_, warmed
from cure.nn.folded_copy import compile_folded_copy
from cure.nn.folding import FORMATS, settled
from cure.runtime import distributed
from cure.runtime.memory import halving
from cure.settings.base import Augment, Layout
from cure.settings.sections import Fit, RunSettings, Snapshots
from cure.storage.checkpoint import State
from cure.storage.resume import Scratch
from cure.training.sanity_checks import Row, check_finite, pgd_has_no_effect
from cure.training.schedule import epoch_of, rate, set_rate, sgd
from cure.training.step import Step


@dataclass
class Task:
    """Everything that one training run is a function of."""

    nets: Networks
    method: Method
    hyper: Any
    fit: Fit
    train: Split
    val: Split
    augment: Augment
    seed: int
    device: torch.device
    run_settings: RunSettings


@dataclass
class TrainingCheckpoint:
    """What a run leaves: networks by name, one history row per epoch, and the epoch of the best validation PGD.

    A snapshot is named SHARE/NETWORK; it holds what the method brought too, so that its step can be taken again.
    """

    history: list[Row] = field(default_factory=list)
    best: State = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = -1.0
    snapshots: dict[str, State] = field(default_factory=dict)


def validated(net: nn.Module, val: Split, fit: Fit, seed: int) -> dict[str, Flags]:
    """Which validation images are classified correctly, clean and under PGD; each rank looks at its share of them."""

    def attacked(net: nn.Module, batch: Batch) -> torch.Tensor:
        return pgd(net, batch, fit.validate_attack, ce_objective)

    def seen(batch: int) -> dict[str, Flags]:
        return outcomes(net, val.at(rows), {"pgd": attacked}, batch=batch, seed=seed)

    rows = distributed.rows(len(val))
    found = halving(fit.batch, seen, "validation")
    return {name: distributed.everywhere(flags, rows, len(val)) for name, flags in found.items()}


def validation(net: nn.Module, val: Split, fit: Fit, seed: int) -> dict[str, float]:
    """Clean and PGD accuracy on the validation split."""
    return accuracies(validated(net, val, fit, seed))


def train(task: Task, scratch: Scratch, on_progress: Callable[[str], None]) -> TrainingCheckpoint:
    """Run the remaining epochs of `task`, whose nets end in the state of the last; call `on_progress` after each."""
    state = scratch.load()
    layout = state["layout"] if state else _layout(task)
    task.nets.to(memory_format=FORMATS[layout])
    for net in task.nets.values() if task.run_settings.compile else ():
        compile_folded_copy(net)
    optimizer = sgd(task.nets, task.fit)
    average = copy.deepcopy(task.nets.student).requires_grad_(False) if task.fit.average is not None else None
    kept = TrainingCheckpoint()
    parts: dict[str, Any] = {"nets": task.nets, "optimizer": optimizer} | ({"average": average} if average else {})
    if state:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        kept = TrainingCheckpoint(**state["kept"])
    step = Step(task.nets, task.method, task.hyper, optimizer, task.run_settings.precision)
    loader = Loader(task.train, task.fit.batch, task.augment, task.seed)
    steps = range(len(loader) * task.fit.epochs)
    if average is not None and all(_decay(task.fit, step, len(loader)) is None for step in reversed(steps)):
        raise UserError(f"train.average: no snapshot falls into {len(steps)} steps; lower every or begin")
    for _ in kept.history:
        on_progress("resumed")
    if not kept.history:
        _remember(task, 0, kept)
    for epoch in range(len(kept.history) + 1, task.fit.epochs + 1):
        past = kept.history[-1] if kept.history else {}
        row: Row = {"epoch": epoch, "lr": rate(task.fit, epoch)} | _epoch(task, step, loader, epoch, average, past)
        _watch(task, epoch, row, kept)
        _remember(task, epoch, kept)
        states = {name: part.state_dict() for name, part in parts.items()}
        if distributed.rank() == 0:
            scratch.save(states | {"kept": vars(kept), "layout": layout})
        on_progress(" ".join(f"{k} {v:.3f}" for k, v in row.items() if k.startswith("val_")))
    if average is not None:
        task.nets["average"] = average
    return kept


def _layout(task: Task) -> Layout:
    """The memory format of this run; probed on the first images, it may be another the next time."""
    x = as_float(task.train.images[: task.fit.batch])
    return distributed.agreed(settled(task.nets.student, x, task.run_settings.layout))


def _epoch(task: Task, step: Step, loader: Loader, epoch: int, average: nn.Module | None, past: Row) -> Row:
    """One pass over the training split; the mean of each term over its images."""
    set_rate(step.optimizer, rate(task.fit, epoch))
    task.nets.ready()
    torch.manual_seed(seed_for(task.seed, epoch, "dropout"))
    noise = Stream(seed_for(task.seed, epoch, "noise"), task.device)
    done, sums = (epoch - 1) * len(loader), dict[str, torch.Tensor]()
    found, lr = _ahead(task, loader, epoch), rate(task.fit, epoch)
    for i, (x, y, index) in enumerate(loader.epoch(epoch)):
        images = loader.images(i)
        draws = noise if distributed.count() == 1 else Rows(noise, distributed.rows(images), images)
        position = TrainingPosition(epoch, done + i, lr, len(loader), past, found)
        batch = Batch(x, y, index, draws, position, images_on_other_ranks=images - len(y))
        with graphs(task.run_settings.graphs):
            means = step(batch)
        for name, mean in means.items():
            sums[name] = sums.get(name, torch.zeros_like(mean)) + mean * images
        if average is not None and (decay := _decay(task.fit, done + i, len(loader))) is not None:
            average_(average, task.nets.student, decay)
    if average is not None:
        take_buffers_(average, task.nets.student)
    totals = dict(zip(sums, distributed.mean(list(sums.values())), strict=True))
    row: Row = {
        name: float(total) / len(loader.split) for name, total in totals.items()
    }  # the epoch's one look at the device
    check_finite(epoch, row, task.nets)
    return row


def _ahead(task: Task, loader: Loader, epoch: int) -> dict[str, Any]:
    """What the method looks at before the epoch."""
    if task.method.before_epoch is None:
        return {}
    noise = Stream(seed_for(task.seed, epoch, "noise before"), task.device)
    batches = (
        Batch(x, y, index, noise, TrainingPosition(epoch)) for x, y, index in loader.epoch(epoch, "batches before")
    )
    return task.method.before_epoch(task.nets, epoch, batches, task.hyper)


def _decay(fit: Fit, step: int, per_epoch: int) -> float | None:
    """What the weight average keeps of itself after this step; None where it stays as it is."""
    if isinstance(fit.average, Snapshots):
        return snapshot(step, per_epoch, fit.average.begin, fit.average.every)
    return None if fit.average is None else warmed(fit.average, step + 1)


def _watch(task: Task, epoch: int, row: Row, kept: TrainingCheckpoint) -> None:
    """Add the row to the history, with validation accuracies where due, and keep the best student."""
    if epoch % task.fit.validate_every == 0 or epoch == task.fit.epochs:
        found = validation(task.nets.student, task.val, task.fit, task.seed)
        scores: Row = {f"val_{name}": value for name, value in found.items()}
        if pgd_has_no_effect(scores, task.val) and not any(pgd_has_no_effect(row, task.val) for row in kept.history):
            print(f"epoch {epoch}: PGD changed no prediction, so gradients may be zero", file=sys.stderr, flush=True)
        row.update(scores)
        if scores["val_pgd"] > kept.best_score:
            kept.best_score, kept.best_epoch = scores["val_pgd"], epoch
            kept.best = _copied(task.nets.student)
    kept.history.append(row)


def _remember(task: Task, epoch: int, kept: TrainingCheckpoint) -> None:
    """Keep every network that is not a teacher, where a snapshot is due after this epoch."""
    for share in task.fit.snapshots:
        if epoch_of(share, task.fit.epochs) == epoch:
            own = {name: net for name, net in task.nets.items() if name not in task.method.teachers}
            kept.snapshots |= {f"{share:g}/{name}": _copied(net) for name, net in own.items()}


def _copied(net: nn.Module) -> State:
    return {key: t.detach().cpu().clone() for key, t in net.state_dict().items()}
