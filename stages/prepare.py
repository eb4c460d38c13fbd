"""Prepare: one file per data set, with its images, labels, class names and fixed splits.

Reads the data set's own source (a download with a checksum, a folder, or scikit-learn). Writes
data/DATASET.safetensors: uint8 images and labels of train, val and test, and a description.
"""

import json

from cure import catalogue, paths
from cure.check import load
from cure.errors import Refused
from cure.files import replacing
from cure.schema import Run
from cure.terminal import Dataset, stage


def reads(dataset: str) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["run", f"datasets.{dataset}"]


def main(dataset: Dataset) -> None:
    """Prepare DATASET: its source -> data/DATASET.safetensors.

    Being the first stage, it also says at once what the machine lacks for the others: a device, a network, a file.
    Downloads are kept in $CURE_DOWNLOADS (default ~/.cache/cure/downloads).
    """
    import numpy as np
    from safetensors.numpy import save

    from cure.core.raw import stratified
    from cure.engine.device import missing_device

    params = load(reads(dataset), dataset)
    entry = catalogue.entry("datasets", dataset)
    hyper = params.get(f"datasets.{dataset}", entry.Hyper)
    downloads = paths.downloads(dataset)
    lacking = [why for why in (missing_device(params.get("run", Run)), entry.missing(hyper, downloads)) if why]
    if lacking:
        raise Refused("\n  ".join(["this machine lacks what the pipeline needs:", *lacking]))
    raw = entry.read(hyper, downloads)
    images, labels = raw.train
    val = stratified(labels, hyper.validation, hyper.split_seed)
    splits = {"train": (images[~val], labels[~val]), "val": (images[val], labels[val]), "test": raw.test}
    tensors = {f"{name}/images": np.ascontiguousarray(x) for name, (x, _) in splits.items()}
    tensors |= {f"{name}/labels": np.ascontiguousarray(y.astype(np.int64)) for name, (_, y) in splits.items()}
    about = {"kind": "data", "name": dataset, "source": raw.source, "classes": raw.classes, "channels": images.shape[1]}
    with replacing(paths.data(dataset)) as draft:
        draft.write_bytes(save(tensors, metadata={"cure": json.dumps(about, sort_keys=True)}))
    print(f"{dataset}: " + ", ".join(f"{len(y):,} {name}" for name, (_, y) in splits.items()))


if __name__ == "__main__":
    stage(main)
