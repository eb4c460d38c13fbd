"""Conservation: train the natural network of a data set, model and seed.

Reads the prepared data. Writes weights/DATASET/MODEL/natural-sSEED.safetensors, the training checkpoint, the curve and
the provenance file. CURE starts from this network; as the method `natural` it is evaluated like any other.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure import catalogue
from cure.runtime.terminal import Dataset, Model, Seed, stage
from cure.settings.check import load
from cure.settings.sections import Fit
from cure.storage.paths import Run


def reads(run: Run) -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    return ["run", "threat", "pretrain", f"datasets.{run.dataset}.augment", f"models.{run.model}", "methods.natural"]


def main(dataset: Dataset, model: Model, seed: Seed) -> str:
    """Train the natural network (conservation): data/DATASET -> weights/DATASET/MODEL/natural-sSEED.

    Settings come from the sections run, pretrain, datasets and models of params.yaml in the current folder. An
    interrupted run continues at its last epoch, with the same result bit by bit.
    """
    from cure.training.job import Job
    from cure.training.train_run import execute

    run = Run(dataset, model, "natural", seed)
    params = load(reads(run), dataset, model)
    method = catalogue.entry("methods", "natural").METHOD
    hyper = params.get("methods.natural", method.hyper)
    return execute(Job("pretrain", run, params, method, hyper, params.get("pretrain", Fit)))


if __name__ == "__main__":
    stage(main)
