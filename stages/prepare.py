"""Prepare: one file per data set, with its images, labels, class names and fixed splits.

Reads the data set's own source (a download with a checksum, a folder, or scikit-learn). Writes
data/DATASET.safetensors: uint8 images and labels of train, val and test, and a description.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure import catalogue
from cure.runtime.terminal import Dataset, stage
from cure.settings.check import load
from cure.settings.sections import RunSettings
from cure.storage import paths


def reads(dataset: str) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["run", f"datasets.{dataset}"]


def main(dataset: Dataset) -> None:
    """Prepare DATASET: its source -> data/DATASET.safetensors.

    Being the first stage, it also says at once what the machine lacks for the others: a device, a network, a file.
    Downloads are kept in $CURE_DOWNLOADS (default ~/.cache/cure/downloads).
    """
    from cure.data.prepare import lacking, prepare
    from cure.runtime.device import missing_device

    params = load(reads(dataset), dataset)
    hyper = params.get(f"datasets.{dataset}", catalogue.entry("datasets", dataset).Hyper)
    lacking(dataset, hyper, missing_device(params.get("run", RunSettings)))
    sizes = prepare(dataset, hyper, paths.data(dataset))
    print(f"{dataset}: " + ", ".join(f"{size:,} {name}" for name, size in sizes.items()))


if __name__ == "__main__":
    stage(main)
