"""Analyse: analyse one run, its evaluated network and its training, on a few validation images.

Reads the prepared data, weights/DATASET/MODEL/METHOD-sSEED, its trajectory and its curve. Writes the folder
results/DATASET/MODEL/METHOD-sSEED-analyse: a small file for each analysis of params.yaml that suits the method.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure.runtime.terminal import Dataset, MethodName, Model, Seed, stage
from cure.settings.check import load
from cure.storage.paths import Run


def reads(run: Run) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["run", "threat", "analyse"]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> str:
    """Analyse weights/DATASET/MODEL/METHOD-sSEED and its training, as the section analyse of params.yaml says.

    The method's own settings are those that its trajectory was trained with.
    """
    from cure.training.run_analyses import analyse

    run = Run(dataset, model, method, seed)
    return ", ".join(analyse(run, load(reads(run), dataset, model)))


if __name__ == "__main__":
    stage(main)
