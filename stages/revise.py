"""Revise: consolidate a trajectory into the one network that is evaluated.

Reads the prepared data and trajectories/DATASET/MODEL/METHOD-sSEED. Writes weights/DATASET/MODEL/METHOD-sSEED and
results/DATASET/MODEL/METHOD-sSEED-revise.json: what the method says of the choice, on the validation split.
"""

from cure import catalogue
from cure.check import hyper_keys, load
from cure.engine.consolidate import consolidate
from cure.errors import Refused
from cure.paths import Cell
from cure.schema import Run
from cure.terminal import Dataset, MethodName, Model, Seed, stage


def reads(cell: Cell) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    keys = list(hyper_keys(cell.method, catalogue.entry("methods", cell.method).METHOD))
    return ["run", "threat", "train", keys[-1]]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> None:
    """Consolidate METHOD: trajectories/DATASET/MODEL/METHOD-sSEED -> weights/DATASET/MODEL/METHOD-sSEED.

    The working network and its revision are trained together in the stage update; here the one that is reported is
    chosen, by the section methods.METHOD.revise of params.yaml, and its relatives are scored beside it.
    """
    cell = Cell(dataset, model, method, seed)
    entry = catalogue.entry("methods", method).METHOD
    if entry.finish is None:
        raise Refused(f"{method} does not consolidate: its update already writes the evaluated network")
    params = load(reads(cell), dataset, model)
    hyper, train = params.method(reads(cell)[-1], entry.revise)
    consolidate(cell, entry.finish, hyper, train, params.get("run", Run))


if __name__ == "__main__":
    stage(main)
