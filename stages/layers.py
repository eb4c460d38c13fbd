"""Layers: train some blocks of the natural network adversarially, to show which of them robustness needs.

Reads the prepared data and weights/DATASET/MODEL/natural-sSEED. Writes, for the block sets of one group,
results/DATASET/MODEL/VARIANT-GROUP-sSEED-layers.json (each validation image's outcome, clean and under PGD, after the
last epoch), the curve of every set and the provenance file. No network is kept.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from typing import Annotated

import typer

from cure import catalogue
from cure.runtime.terminal import Dataset, Model, Seed, stage
from cure.settings.check import load
from cure.settings.check_layers import refuse_outside
from cure.settings.layers import Blocks, Freezing, Variant
from cure.storage.paths import Run

VariantName = Annotated[Variant, typer.Argument(help="How the chosen blocks start.", metavar="VARIANT")]
Group = Annotated[str, typer.Argument(help="Block sets of params.yaml: a key of layers.blocks.", metavar="GROUP")]


def reads(run: Run, group: str) -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    entries = [f"datasets.{run.dataset}.augment", f"models.{run.model}", "methods.at"]
    return ["run", "threat", "train", "layers.update", f"layers.blocks.{group}", *entries]


def main(dataset: Dataset, model: Model, variant: VariantName, group: Group, seed: Seed) -> str:
    """Update blocks of the natural network by AT: every set of layers.blocks.GROUP, one after the other.

    `reinit` first gives the chosen blocks fresh weights, `finetune` continues from the natural ones. The section
    layers.update decides what else is trained (stem, batch-norm statistics). An interrupted run continues at its last
    epoch.
    """
    from cure.training.job import Job
    from cure.training.layerwise import Study, execute

    run = Run(dataset, model, "natural", seed).layers(variant, group)
    params = load(reads(run, group), dataset, model)
    refuse_outside(params.raw, model)
    method = catalogue.entry("methods", "at").METHOD
    hyper, _ = params.method("methods.at", method.hyper)
    how, train = params.method("layers.update", Freezing)
    sets = params.get(f"layers.blocks.{group}", Blocks).sets
    fit = train.model_copy(update={"snapshots": []})  # no later stage reads networks of the study
    return execute(Study(Job("layers", run, params, method, hyper, fit), variant, sets, how))


if __name__ == "__main__":
    stage(main)
