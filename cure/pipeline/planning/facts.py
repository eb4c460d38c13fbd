"""Provide facts about a run before anything is downloaded or trained: its settings and the size of its data."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import safe_open

from cure import catalogue
from cure.core.method import Method
from cure.core.network import Network
from cure.data.archive import Extent
from cure.errors import UserError
from cure.settings.base import Augment, DataSettings
from cure.settings.check import check
from cure.settings.layers import Blocks, Freezing
from cure.settings.params import FILE, Params, read, revise_key, update_key
from cure.settings.sections import Fit, Train
from cure.storage import checkpoint, paths
from cure.storage.paths import Run


@dataclass(frozen=True, eq=False)
class Facts:
    """A folder's checked params.yaml, and what is computed from it."""

    folder: Path
    raw: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> "Facts":
        """Read and check the params.yaml of a pipeline folder; raise UserError with every mistake in it."""
        raw = read(folder / FILE)
        check(raw).refuse(folder / FILE)
        return cls(folder, raw)

    def params(self, dataset: str, model: str) -> Params:
        """Return every section, for this data set and model."""
        keys = {f"{section}.{name}" for section in ("datasets", "models", "methods") for name in self.raw[section]}
        parts = [f"datasets.{dataset}.augment", *(f"layers.blocks.{name}" for name in self.raw["layers"]["blocks"])]
        phases = [f"methods.{m}.{part}" for m in self.raw["methods"] for part in ("update", "revise")]
        return Params(self.raw, [*self.raw, *keys, *parts, *phases, "layers.update", "threat"], dataset, model)

    def training(self, run: Run) -> tuple[Method, Any, Fit]:
        """Return the method of the run with its settings and schedule."""
        method: Method = catalogue.entry("methods", run.method).METHOD
        params, key = self.params(run.dataset, run.model), update_key(run.method, method)
        if run.method == "natural":
            return method, params.get(key, method.hyper), params.get("pretrain", Fit)
        return method, *params.method(key, method.hyper)

    def consolidation(self, run: Run) -> tuple[Method, Any, Train]:
        """Return the method of the run with the settings of its `select_network`."""
        method: Method = catalogue.entry("methods", run.method).METHOD
        key = revise_key(run.method, method)
        return method, *self.params(run.dataset, run.model).method(key, method.revise or method.hyper)

    def study(self, dataset: str, model: str, group: str) -> tuple[Train, dict[str, list[str]]]:
        """Return the schedule of the layer-wise study, and the block sets of a group."""
        params = self.params(dataset, model)
        return params.method("layers.update", Freezing)[1], params.get(f"layers.blocks.{group}", Blocks).sets

    def fresh(self, dataset: str, model: str) -> Network:
        """Build the network of a run before it is trained."""
        settings = self.params(dataset, model).get(f"models.{model}", catalogue.hyper("models", model))
        extent = self.extent(dataset)
        return checkpoint.build(model, settings.model_dump(), extent.channels, extent.classes)

    def augment(self, dataset: str) -> Augment:
        """Return the augmentation of training images."""
        return self.params(dataset, "").get(f"datasets.{dataset}.augment", Augment)

    def extent(self, dataset: str) -> Extent:
        """Return the numbers of training images (without validation) and test images, and their form."""
        return _extent(self, dataset)

    def validation(self, dataset: str) -> int:
        """Return the number of images of the validation split."""
        hyper = self.data(dataset)
        if hyper.validation is not None:
            return hyper.validation
        if (prepared := self.folder / paths.data(dataset)).exists():
            return _shape(prepared, "val")[0]
        whole = _whole(self, dataset)
        return hyper.validation_images(whole.train, whole.classes)

    def data(self, dataset: str) -> DataSettings:
        """Return the settings of a data set."""
        settings: DataSettings = self.params(dataset, "").get(
            f"datasets.{dataset}", catalogue.hyper("datasets", dataset)
        )
        return settings


@cache
def _extent(facts: Facts, dataset: str) -> Extent:
    """Read the prepared file, else count its future content."""
    prepared = facts.folder / paths.data(dataset)
    if prepared.exists():
        return _prepared(prepared)
    whole = _whole(facts, dataset)
    return replace(whole, train=whole.train - facts.validation(dataset))


@cache
def _whole(facts: Facts, dataset: str) -> Extent:
    """Take the published numbers, else read a source that needs no download; train includes validation."""
    entry = catalogue.entry("datasets", dataset)
    published: Extent | None = entry.EXTENT if entry.FILES else None
    return published or _read(facts, dataset)


def _prepared(path: Path) -> Extent:
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["cure"])
    train, test = _shape(path, "train"), _shape(path, "test")
    return Extent(train[0], test[0], train[1], max(train[2:]), len(about["classes"]))


def _shape(path: Path, split: str) -> list[int]:
    """Return the shape (n, c, h, w) of the images of a split."""
    with safe_open(path, framework="pt") as file:
        shape: list[int] = file.get_slice(f"{split}/images").get_shape()
    return shape


def _read(facts: Facts, dataset: str) -> Extent:
    entry, where = catalogue.entry("datasets", dataset), paths.downloads(dataset)
    hyper = facts.data(dataset)
    if missing := entry.missing(hyper, where):
        raise UserError(missing)
    raw = entry.read(hyper, where)
    (train, _), (test, _) = raw.train, raw.test
    return Extent(len(train), len(test), train.shape[1], max(train.shape[2:]), len(raw.classes))
