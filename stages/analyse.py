"""Analyse: look at what one evaluated network, or its method, does to a few validation images.

Reads the prepared data and weights/DATASET/MODEL/METHOD-sSEED. Writes
results/DATASET/MODEL/METHOD-sSEED-ANALYSIS.safetensors: the small arrays of an entry of cure/analyses, for figures.
"""

from typing import Annotated

import typer

from cure import catalogue
from cure.check import hyper_keys, load
from cure.engine.analyse import analyse
from cure.paths import Cell
from cure.terminal import Dataset, MethodName, Model, Seed, stage

Name = Annotated[str, typer.Argument(help="An entry of cure/analyses.", metavar="ANALYSIS")]


def reads(cell: Cell) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    method = catalogue.entry("methods", cell.method).METHOD
    key = next(iter(hyper_keys(cell.method, method)))
    return [*method.hyper.top_level, "run", "threat", "train", "analyse", key]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed, analysis: Name) -> None:
    """Analyse weights/DATASET/MODEL/METHOD-sSEED on validation images as the section analyse of params.yaml says."""
    cell = Cell(dataset, model, method, seed)
    entry = catalogue.entry("methods", method).METHOD
    params = load(reads(cell), dataset, model)
    hyper, _ = params.method(reads(cell)[-1], entry.hyper)
    analyse(cell, analysis, entry, hyper, params)


if __name__ == "__main__":
    stage(main)
