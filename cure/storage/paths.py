"""Spell the path of every artefact, relative to the pipeline's folder (that of params.yaml). No other module does."""

import os
from dataclasses import dataclass
from pathlib import Path


def data(dataset: str) -> Path:
    """Return the file of prepared images, labels and splits of a data set."""
    return Path("data") / f"{dataset}.safetensors"


def downloads(dataset: str) -> Path:
    """Return the folder of a data set's downloads, which all pipelines of a machine share.

    It is below $CURE_DOWNLOADS, by default ~/.cache/cure/downloads.
    """
    return Path(os.environ.get("CURE_DOWNLOADS", "~/.cache/cure/downloads")).expanduser() / dataset


def expanded(path: str) -> Path:
    """Return a path of params.yaml with environment variables and ~ expanded."""
    return Path(os.path.expandvars(path)).expanduser()


@dataclass(frozen=True)
class Run:
    """A run: one method on one data set, with one model and one seed."""

    dataset: str
    model: str
    method: str
    seed: int

    @classmethod
    def of_result(cls, path: Path) -> "Run":
        """Return the run of a file DATASET/MODEL/METHOD-sSEED-STAGE.json, as `result` spells it."""
        dataset, model, name = path.parts[-3:]
        method, _, seed = name.rpartition("-")[0].rpartition("-s")
        return cls(dataset, model, method, int(seed))

    @property
    def name(self) -> str:
        """Return the run's name, such as digits/small/trades-s0."""
        return f"{self.dataset}/{self.model}/{self.method}-s{self.seed}"

    def of(self, method: str) -> "Run":
        """Return the run of another method with the same data set, model and seed, such as CURE's natural parent."""
        return Run(self.dataset, self.model, method, self.seed)

    def layers(self, variant: str, group: str) -> "Run":
        """Return the run of one process of the layer-wise study, which has no row in the results table."""
        return self.of(f"{variant}-{group}")

    @property
    def weights(self) -> Path:
        """Return the file of the evaluated network, whichever stage writes it."""
        return Path("weights") / f"{self.name}.safetensors"

    @property
    def training_checkpoint(self) -> Path:
        """Return the file of a training loop's networks: last, best and average student, companions, and snapshots."""
        return Path("trajectories") / f"{self.name}.safetensors"

    @property
    def curve(self) -> Path:
        """Return the CSV file of the training curve, one line per epoch."""
        return Path("curves") / f"{self.name}.csv"

    def provenance(self, stage: str) -> Path:
        """Return the file that records software and device of a stage. Only the report reads it."""
        return Path("provenance") / f"{self.name}-{stage}.json"

    def result(self, stage: str) -> Path:
        """Return the JSON file of counts and per-image outcomes of the stage `attack`, `corrupt` or `revise`."""
        return Path("results") / f"{self.name}-{stage}.json"

    @property
    def analyses(self) -> Path:
        """Return the folder that the stage `analyse` writes."""
        return Path("results") / f"{self.name}-analyse"

    def analysis(self, name: str) -> Path:
        """Return the array file of an entry of cure/analyses; it is absent if the analysis does not suit the method."""
        return self.analyses / f"{name}.safetensors"
