"""Declare one training run: its method with settings, its schedule, and its inputs."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from cure import catalogue
from cure.core.method import Method, Networks
from cure.core.network import Network
from cure.core.noise import seed_for
from cure.data import prepared
from cure.errors import UserError
from cure.settings.base import Augment, Settings
from cure.settings.params import Params
from cure.settings.sections import Fit, RunSettings
from cure.storage import checkpoint
from cure.storage.checkpoint import Description
from cure.storage.paths import Run


@dataclass(frozen=True)
class Job:
    """One training run: its method with settings, its schedule, and where its inputs are."""

    stage: str
    run: Run
    params: Params
    method: Method
    hyper: Settings
    fit: Fit

    @cached_property
    def run_settings(self) -> RunSettings:
        """Return the settings of device, precision and processes."""
        return self.params.get("run", RunSettings)

    @property
    def model(self) -> Settings:
        """Return the settings of the model."""
        section: Settings = self.params.get(f"models.{self.run.model}", catalogue.hyper("models", self.run.model))
        return section

    @cached_property
    def augment(self) -> Augment:
        """Return the augmentation of training images; the data set's other settings are applied when it is prepared."""
        return self.params.get(f"datasets.{self.run.dataset}.augment", Augment)

    def parents(self) -> list[Path]:
        """Return the weight files of earlier stages that the method requires by role."""
        return [self.run.of(self.params.role(role)).weights for role in self.method.roles]

    def assemble(self, source: prepared.Data) -> Networks:
        """Build the student, from its seed or its parent, with the companions and teachers of the method."""
        torch.manual_seed(seed_for(self.run.seed, "weights"))
        settings = self.model.model_dump()
        student = checkpoint.build(self.run.model, settings, source.channels, len(source.classes))
        if init := self.method.start(self.hyper) if self.method.start else self.method.init:
            parent = self.run.of(self.params.role(init)).weights
            complaint = f"{parent}: does not fit {self.run.model} as params.yaml describes it"
            checkpoint.fill(student, self.parent(init, source).state_dict(), complaint)
        if self.method.prepare:
            self.method.prepare(student, self.hyper)
        companions = self.method.companions(self.hyper) if self.method.companions else {}
        return Networks(student, companions, {role: self.parent(role, source) for role in self.method.teachers})

    def parent(self, role: str, source: prepared.Data) -> Network:
        """Load the network in a role; raise UserError if it is of another model or data set."""
        path = self.run.of(self.params.role(role)).weights
        about, net = parent(path, self.run, source.digest, role)
        if about.settings != self.model.model_dump():
            raise UserError(
                f"{path}: its {self.run.model} has {about.settings}, but {self.run.name} needs "
                f"{self.model.model_dump()} in the role {role}; train it again with this params.yaml"
            )
        return net


def parent(path: Path, run: Run, digest: str, role: str) -> tuple[Description, Network]:
    """Load the network in `path`; raise UserError if it does not fit the run that needs it in this role."""
    if not path.exists():
        raise UserError(f"{path}: not found, but {run.name} needs it in the role {role}; `dvc repro` trains it first")
    about, states = checkpoint.load(path)
    for what, found, wanted in (
        ("model", about.model, run.model),
        ("data set", about.dataset, run.dataset),
        ("data", about.data_digest, digest),
    ):
        if found != wanted:
            raise UserError(
                f"{path}: its {what} is {found}, but {run.name} needs {wanted} in the role {role}; run `dvc repro`"
            )
    if "" not in states:
        raise UserError(f"{path}: is a training checkpoint, not one network, so it cannot take the role {role}")
    return about, checkpoint.network(about, states[""], path)
