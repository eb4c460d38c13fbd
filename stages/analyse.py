"""Analyse: run the analyses of a run on its evaluated network and its training, with a few validation images.

Reads the prepared data, weights/DATASET/MODEL/METHOD-sSEED, its training checkpoint and its curve. Writes the folder
results/DATASET/MODEL/METHOD-sSEED-analyse: a small file for each analysis of params.yaml that suits the method.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure.runtime.terminal import Dataset, MethodName, Model, Seed, stage
from cure.settings.check import load
from cure.storage.paths import Run


def reads(run: Run) -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    return ["run", "threat", "analyse"]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> str:
    """Analyse weights/DATASET/MODEL/METHOD-sSEED and its training with the section analyse of params.yaml.

    The method's own settings are those of its training, from the training checkpoint.
    """
    from cure.training.run_analyses import analyse

    run = Run(dataset, model, method, seed)
    return ", ".join(analyse(run, load(reads(run), dataset, model)))


if __name__ == "__main__":
    stage(main)
