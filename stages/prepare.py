"""Prepare: write one file per data set, with its images, labels, class names and fixed splits.

Reads the data set's own source (a download with a checksum, a folder, or scikit-learn). Writes
data/DATASET.safetensors: uint8 images and labels of train, val and test, and a description.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure import catalogue
from cure.runtime.terminal import Dataset, stage, warn
from cure.settings.check import load, unused
from cure.settings.params import FILE
from cure.settings.sections import RunSettings
from cure.storage import paths


def reads(dataset: str) -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    return ["run", f"datasets.{dataset}"]


def main(dataset: Dataset) -> str:
    """Prepare DATASET: its source -> data/DATASET.safetensors.

    As the first stage, it also reports at once whatever would stop a later one: a mistake in params.yaml (`cure
    check`), or a missing device, network or file. Downloads are kept in $CURE_DOWNLOADS (default
    ~/.cache/cure/downloads).
    """
    from cure.core.corruption import refuse_empty_mean
    from cure.data.prepare import lacking, prepare
    from cure.runtime.device import missing_device

    params = load(reads(dataset), dataset)
    refuse_empty_mean(params.raw["corrupt"]["corruptions"])
    warn(FILE, unused(params.raw))
    hyper = params.get(f"datasets.{dataset}", catalogue.entry("datasets", dataset).Hyper)
    lacking(dataset, hyper, missing_device(params.get("run", RunSettings)))
    sizes = prepare(dataset, hyper, paths.data(dataset))
    return ", ".join(f"{size:,} {name}" for name, size in sizes.items()) + " images"


if __name__ == "__main__":
    stage(main)
