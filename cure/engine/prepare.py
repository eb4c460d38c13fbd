"""From a data set's own source to one file with its images, labels, class names and fixed splits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from cure import catalogue, paths
from cure.core.raw import stratified
from cure.core.settings import DataSettings
from cure.errors import Refused
from cure.files import replacing


def lacking(dataset: str, hyper: DataSettings, *others: str | None) -> None:
    """Refuse, all reasons together, if the data set cannot be read here or `others` name something missing."""
    reasons = [*others, catalogue.entry("datasets", dataset).missing(hyper, paths.downloads(dataset))]
    if any(reasons):
        raise Refused("\n  ".join(["this machine lacks what the pipeline needs:", *filter(None, reasons)]))


def prepare(dataset: str, hyper: Any, path: Path) -> dict[str, int]:
    """Write uint8 images and labels of train, val and test to `path`; how many each has."""
    raw = catalogue.entry("datasets", dataset).read(hyper, paths.downloads(dataset))
    images, labels = raw.train
    val = stratified(labels, hyper.validation, hyper.split_seed)
    splits = {"train": (images[~val], labels[~val]), "val": (images[val], labels[val]), "test": raw.test}
    tensors = {f"{name}/images": np.ascontiguousarray(x) for name, (x, _) in splits.items()}
    tensors |= {f"{name}/labels": np.ascontiguousarray(y.astype(np.int64)) for name, (_, y) in splits.items()}
    about = {"kind": "data", "name": dataset, "source": raw.source, "classes": raw.classes, "channels": images.shape[1]}
    with replacing(path) as draft:
        draft.write_bytes(save(tensors, metadata={"cure": json.dumps(about, sort_keys=True)}))
    return {name: len(y) for name, (_, y) in splits.items()}
