"""One training run from its inputs to its files: what the stages pretrain and update share."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from cure import catalogue
from cure.core.method import Method, Networks
from cure.core.network import Network
from cure.core.noise import seed_for
from cure.data import prepared
from cure.errors import UserError
from cure.runtime import distributed, torchrun
from cure.runtime.memory import fitting
from cure.runtime.progress import progress
from cure.settings.base import Augment, Settings
from cure.settings.params import Params
from cure.settings.sections import Fit, RunSettings
from cure.storage import checkpoint, paths, provenance
from cure.storage.checkpoint import Description
from cure.storage.files import write_text
from cure.storage.paths import Run
from cure.storage.resume import Scratch
from cure.training.loop import Task, TrainingCheckpoint, train


@dataclass(frozen=True)
class Job:
    """One training run: its method with its settings, and where its inputs are."""

    stage: str
    run: Run
    params: Params
    method: Method
    hyper: Settings
    fit: Fit

    @property
    def run_settings(self) -> RunSettings:
        """Where and how it is computed."""
        return self.params.get("run", RunSettings)

    @property
    def model(self) -> Settings:
        """The settings of the model."""
        section: Settings = self.params.get(f"models.{self.run.model}", catalogue.hyper("models", self.run.model))
        return section

    @property
    def augment(self) -> Augment:
        """How training images are augmented; the rest of the data set's section went into the prepared file."""
        return self.params.get(f"datasets.{self.run.dataset}.augment", Augment)

    def parents(self) -> list[Path]:
        """Weight files of earlier stages that the method asks for by role."""
        return [self.run.of(self.params.role(role)).weights for role in self.method.roles]

    def assemble(self, source: prepared.Data) -> Networks:
        """The student, from its seed or its parent, with the companions and teachers of the method."""
        torch.manual_seed(seed_for(self.run.seed, "weights"))
        settings = self.model.model_dump()
        student = checkpoint.build(self.run.model, settings, source.channels, len(source.classes))
        if init := self.method.start(self.hyper) if self.method.start else self.method.init:
            parent = self.run.of(self.params.role(init)).weights
            complaint = f"{parent}: does not fit {self.run.model} as params.yaml describes it"
            checkpoint.fill(student, self.parent(init, source).state_dict(), complaint)
        if self.method.prepare:
            self.method.prepare(student)
        companions = self.method.companions(self.hyper) if self.method.companions else {}
        return Networks(student, companions, {role: self.parent(role, source) for role in self.method.teachers})

    def parent(self, role: str, source: prepared.Data) -> Network:
        """The network in a role; refuses one of another model or data set."""
        path = self.run.of(self.params.role(role)).weights
        about, net = parent(path, self.run, source.digest, role)
        if about.settings != self.model.model_dump():
            raise UserError(
                f"{path}: its {self.run.model} has {about.settings}, but {self.run.name} needs "
                f"{self.model.model_dump()} in the role {role}; train it again with this params.yaml"
            )
        return net

    def describe(
        self, source: prepared.Data, kept: TrainingCheckpoint, kind: Literal["network", "trajectory"]
    ) -> Description:
        """The description of the trajectory, or of the network chosen from it."""
        last = self.fit.select != "best" or kind == "trajectory"
        epoch = len(kept.history) if last else kept.best_epoch
        scores = {k: v for k, v in kept.history[epoch - 1].items() if k.startswith("val_")}
        return Description(
            kind=kind,
            model=self.run.model,
            settings=self.model.model_dump(),
            channels=source.channels,
            classes=source.classes,
            dataset=self.run.dataset,
            data_digest=source.digest,
            method=self.run.method,
            seed=self.run.seed,
            params=self.params.as_text(),
            epoch=epoch,
            best_epoch=kept.best_epoch,
            validation=scores,
        )


def parent(path: Path, run: Run, digest: str, role: str) -> tuple[Description, Network]:
    """The network in `path`, which must fit the run that needs it in this role."""
    if not path.exists():
        raise UserError(f"{path}: not found, but {run.name} needs it in the role {role}; `dvc repro` trains it first")
    about, states = checkpoint.load(path)
    for what, found, wanted in (
        ("model", about.model, run.model),
        ("data set", about.dataset, run.dataset),
        ("data", about.data_digest, digest),
    ):
        if found != wanted:
            raise UserError(f"{path}: its {what} is {found}, but {run.name} needs {wanted} in the role {role}")
    if "" not in states:
        raise UserError(f"{path}: holds a trajectory, not one network, so it cannot take the role {role}")
    return about, checkpoint.network(about, states[""], path)


def execute(job: Job) -> None:
    """Train, or finish an interrupted run, and write what the run owes: curve, sidecar, networks.

    A method that consolidates leaves its one network to the stage revise; everyone else's is written here. The
    resume file goes only when all of it is on disk. Of several ranks the first one holds the run, saves and writes.
    """
    where = torchrun.set_up(job.run_settings)
    source = prepared.load(paths.data(job.run.dataset), ("train", "val"), where)
    nets = torchrun.synchronised(job.assemble(source).to(where), job.run_settings)
    splits = source.splits
    task = Task(
        nets,
        job.method,
        job.hyper,
        job.fit,
        splits["train"],
        splits["val"],
        job.augment,
        job.run.seed,
        where,
        job.run_settings,
    )
    scratch = Scratch(job.stage, job.run.name, job.params.as_text(), [source.path, *job.parents()])
    with torchrun.alone(scratch.locked):
        key = "pretrain.batch" if job.stage == "pretrain" else "train.batch"
        with progress(f"{job.stage} {job.run.name}", job.fit.epochs) as on_progress, fitting(key, job.fit.batch):
            kept = train(task, scratch, on_progress)
        if distributed.rank() > 0:
            return
        states = {name: net.state_dict() for name, net in nets.items() if name not in job.method.teachers}
        states = {"last": states.pop("student"), "best": kept.best, **states}
        described = job.describe(source, kept, "trajectory")
        checkpoint.save(job.run.training_checkpoint, states | kept.snapshots, described)
        if job.method.select_network is None:
            checkpoint.save(job.run.weights, {"": states[job.fit.select]}, job.describe(source, kept, "network"))
        write_text(job.run.curve, curve(kept.history))
        provenance.write(job.run.provenance(job.stage), job.run_settings, where, epochs=job.fit.epochs)
        scratch.delete()


def curve(history: list[dict[str, Any]]) -> str:
    """The history as CSV, one line per epoch; a run is empty where an epoch was not validated."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return out.getvalue()
