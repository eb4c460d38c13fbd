"""Convert a data set from its source to one file with images, labels, class names and fixed splits."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from cure import catalogue
from cure.core.dataset import Raw, stratified
from cure.data import download
from cure.errors import UserError
from cure.settings.base import DataSettings
from cure.storage import paths, resume
from cure.storage.files import replacing


def lacking(dataset: str, hyper: DataSettings, *others: str | None) -> None:
    """Raise `UserError` with all reasons why the data set cannot be read here, together with those in `others`."""
    entry, folder = catalogue.entry("datasets", dataset), paths.downloads(dataset)
    reasons = [*others, entry.missing(hyper, folder), download.lacking(entry.FILES, folder)]
    if any(reasons):
        raise UserError("\n  ".join(["this machine lacks what the pipeline needs:", *filter(None, reasons)]))


def prepare(dataset: str, hyper: Any, path: Path) -> dict[str, int]:
    """Write uint8 images and labels of train, val and test to `path`; return the number of images of each."""
    raw = _raw(dataset, hyper)
    images, labels = raw.train
    val = stratified(labels, hyper.validation_images(len(labels), len(raw.classes)), hyper.split_seed)
    splits = {"train": (images[~val], labels[~val]), "val": (images[val], labels[val]), "test": raw.test}
    tensors = {f"{name}/images": np.ascontiguousarray(x) for name, (x, _) in splits.items()}
    tensors |= {f"{name}/labels": np.ascontiguousarray(y.astype(np.int64)) for name, (_, y) in splits.items()}
    about = {"kind": "data", "name": dataset, "source": raw.source, "classes": raw.classes, "channels": images.shape[1]}
    about |= _twice(dataset, raw)
    with replacing(path) as draft:
        draft.write_bytes(save(tensors, metadata={"cure": json.dumps(about, sort_keys=True)}))
    return {name: len(y) for name, (_, y) in splits.items()}


def _raw(dataset: str, hyper: Any) -> Raw:
    """Return the data set from its source, after any downloads."""
    entry, folder = catalogue.entry("datasets", dataset), paths.downloads(dataset)
    if not entry.FILES:
        raw: Raw = entry.read(hyper, folder)
        return raw
    with resume.locked(folder / f"{dataset}.lock", f"download {dataset}", "data set"):
        for file in entry.FILES:
            download.fetch(file, folder)
        raw = entry.read(hyper, folder)
    return raw


def _twice(dataset: str, raw: Raw) -> dict[str, int]:
    """Count the test images that are also training images, byte for byte; report and record them if there are any."""
    seen = {image.tobytes() for image in raw.train[0]}
    both = sum(image.tobytes() in seen for image in raw.test[0])
    if both:
        print(f"{dataset}: {both} test images are also training images, so accuracies are too high", file=sys.stderr)
    return {"test_images_in_train": both} if both else {}
