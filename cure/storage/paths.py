"""The one place that spells an artefact's path, relative to the folder of the pipeline (its params.yaml)."""

import os
from dataclasses import dataclass
from pathlib import Path


def data(dataset: str) -> Path:
    """Prepared images, labels and splits."""
    return Path("data") / f"{dataset}.safetensors"


def downloads(dataset: str) -> Path:
    """What is fetched once for all pipelines of a machine."""
    return Path(os.environ.get("CURE_DOWNLOADS", "~/.cache/cure/downloads")).expanduser() / dataset


def expanded(path: str) -> Path:
    """Return a path of params.yaml with its variables and its ~ filled in."""
    return Path(os.path.expandvars(path)).expanduser()


@dataclass(frozen=True)
class Run:
    """One method on one data set, with one model and one seed."""

    dataset: str
    model: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """digits/small/trades-s0."""
        return f"{self.dataset}/{self.model}/{self.method}-s{self.seed}"

    def of(self, method: str) -> "Run":
        """The same run of another method: the natural parent of CURE, say."""
        return Run(self.dataset, self.model, method, self.seed)

    def layers(self, variant: str, group: str) -> "Run":
        """What one process of the layer-wise study makes; it has no row in the table."""
        return self.of(f"{variant}-{group}")

    @property
    def weights(self) -> Path:
        """The evaluated network, whoever made it."""
        return Path("weights") / f"{self.name}.safetensors"

    @property
    def training_checkpoint(self) -> Path:
        """What a training loop leaves: last, best and average student, companions, and snapshots."""
        return Path("trajectories") / f"{self.name}.safetensors"

    @property
    def curve(self) -> Path:
        """One line per epoch."""
        return Path("curves") / f"{self.name}.csv"

    def provenance(self, stage: str) -> Path:
        """Which software and device made the run; only the report reads it."""
        return Path("provenance") / f"{self.name}-{stage}.json"

    def result(self, stage: str) -> Path:
        """Counts and per-example outcomes of attack, corrupt or revise."""
        return Path("results") / f"{self.name}-{stage}.json"

    @property
    def analyses(self) -> Path:
        """The folder of what the stage analyse left."""
        return Path("results") / f"{self.name}-analyse"

    def analysis(self, name: str) -> Path:
        """The arrays that an entry of cure/analyses left; not there where it does not suit the method."""
        return self.analyses / f"{name}.safetensors"
