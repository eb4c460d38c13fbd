"""Revise: consolidate a training into the one network that is evaluated.

Reads the prepared data and trajectories/DATASET/MODEL/METHOD-sSEED or, for RiFT, the network of the method
`roles.robust`. Writes weights/DATASET/MODEL/METHOD-sSEED and results/DATASET/MODEL/METHOD-sSEED-revise.json, the
method's report of its choice on the validation split.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure import catalogue
from cure.errors import UserError
from cure.runtime.terminal import Dataset, MethodName, Model, Seed, stage
from cure.settings.check import load
from cure.settings.params import revise_key
from cure.storage.paths import Run


def reads(run: Run) -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    method = catalogue.entry("methods", run.method).METHOD
    role = [] if method.revise else ["roles.robust"]
    augment = f"datasets.{run.dataset}.augment"
    return [*role, "run", "threat", "train", augment, revise_key(run.method, method)]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> str:
    """Consolidate METHOD: trajectories/DATASET/MODEL/METHOD-sSEED -> weights/DATASET/MODEL/METHOD-sSEED.

    RiFT, which has no training of its own, uses the weights of the method `roles.robust`.

    CURE's working network and its revision are trained together in the stage update. This stage scores all networks of
    the checkpoint and selects the reported one, by the section methods.METHOD.revise of params.yaml.
    """
    from cure.training.consolidate import consolidate

    run = Run(dataset, model, method, seed)
    entry = catalogue.entry("methods", method).METHOD
    if entry.select_network is None:
        raise UserError(f"{method} does not consolidate: its update already writes the evaluated network")
    params = load(reads(run), dataset, model)
    hyper, train = params.method(revise_key(method, entry), entry.revise or entry.hyper)
    return consolidate(run, entry, hyper, train, params)


if __name__ == "__main__":
    stage(main)
