"""Update: run the one joint training loop of a robust method.

Reads the prepared data and, where the method starts from or requires them, networks of earlier stages. Writes the
training checkpoint (last, best and companion networks, snapshots), the curve and the provenance file. For methods that
do not consolidate it also writes weights/DATASET/MODEL/METHOD-sSEED.safetensors, the evaluated network.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure import catalogue
from cure.errors import UserError
from cure.runtime.terminal import Dataset, MethodName, Model, Seed, stage
from cure.settings.check import load
from cure.settings.params import update_key
from cure.storage.paths import Run


def reads(run: Run) -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    method = catalogue.entry("methods", run.method).METHOD
    roles = [f"roles.{role}" for role in method.roles if role != "natural"]
    entries = [f"datasets.{run.dataset}.augment", f"models.{run.model}", update_key(run.method, method)]
    return [*method.hyper.top_level, *roles, "run", "threat", "train", *entries]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> str:
    """Train METHOD: data/DATASET (and its parents' weights) -> trajectories/DATASET/MODEL/METHOD-sSEED.

    Settings come from the sections run, train, datasets, models and methods.METHOD of params.yaml in the current folder
    (and alpha, for CURE). An interrupted run continues at its last epoch, with the same result bit by bit.
    """
    from cure.training.job import Job
    from cure.training.train_run import execute

    run = Run(dataset, model, method, seed)
    entry = catalogue.entry("methods", method).METHOD
    if method == "natural":  # it has another schedule, and other methods start from its weights
        raise UserError("natural is trained by the stage pretrain")
    if not entry.updates:
        raise UserError(f"{method} has no stage update; run its stage revise")
    params = load(reads(run), dataset, model)
    hyper, train = params.method(update_key(method, entry), entry.hyper)
    return execute(Job("update", run, params, entry, hyper, train))


if __name__ == "__main__":
    stage(main)
