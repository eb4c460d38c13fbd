"""Build the tables of the layer-wise study: validation accuracy after the last epoch, and after each epoch.

The column `method` holds the block set; `natural` is the network that all block sets start from. The column `setting`
includes the variant, so that every variant has panels and findings of its own.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd

from cure.evaluation.statistics.intervals import wilson
from cure.reporting.results import Results, not_whole
from cure.storage.paths import Run

WORDS = {"reinit": "re-initialised", "finetune": "fine-tuned"}
BARS = ["setting", "method", "seed", "blocks", "updated", "epochs", "images"]
BARS += [f"{name}{end}" for name in ("clean", "pgd") for end in ("", "_low", "_high", "_outcome")]
CURVES = ["setting", "method", "seed", "blocks", "images", "epoch", "val_clean", "val_pgd"]


def bars(results: Results) -> pd.DataFrame:
    """Return a line per run and block set, in percent: accuracies with 95 % intervals, and share of updated weights."""
    lines: list[dict[str, Any]] = []
    for place, run in runs(results):
        found = results.layers(run)
        for name, one in found.networks.items():
            if not any(line["method"] == name == "natural" and place.items() <= line.items() for line in lines):
                about = {"blocks": len(one.parts), "updated": round(100 * one.updated, 2)}
                about |= {"epochs": found.epochs, "images": found.images}
                accuracies = _accuracy("clean", one.clean) | _accuracy("pgd", one.pgd)
                lines.append(place | {"method": name} | about | accuracies)
    return pd.DataFrame(lines, columns=BARS)


def curves(results: Results) -> pd.DataFrame:
    """Return a line per run, block set and validated epoch, with accuracies in percent."""
    frames = [pd.DataFrame(columns=CURVES)]
    for place, run in runs(results):
        found = results.layers(run)
        frame = results.curve(run)[["set", "epoch", "val_clean", "val_pgd"]].dropna().rename(columns={"set": "method"})
        if unknown := sorted(set(frame["method"]) - set(found.networks)):
            raise not_whole(run.curve, f"it has the block sets {', '.join(unknown)}, which the result does not name")
        frame = frame.assign(
            **place, images=found.images, blocks=[len(found.networks[name].parts) for name in frame["method"]]
        )
        frames.append(frame.assign(**{key: (100 * frame[key]).round(2) for key in ("val_clean", "val_pgd")})[CURVES])
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _accuracy(name: str, outcome: str) -> dict[str, Any]:
    hits, images = outcome.count("1"), len(outcome)
    low, high = wilson(hits, images)
    numbers = {name: hits / images, f"{name}_low": low, f"{name}_high": high}
    return {key: round(100 * value, 2) for key, value in numbers.items()} | {f"{name}_outcome": outcome}


def runs(results: Results) -> Iterator[tuple[dict[str, Any], Run]]:
    """Yield setting and seed of every run of the study with the run; runs of one variant and seed are adjacent."""
    grid = results.grid
    for dataset, model, variant in product(grid.datasets, grid.layers.models, grid.layers.variants):
        found = [
            ({"setting": f"{dataset}/{model}, {WORDS[variant]}", "seed": seed}, natural.layers(variant, group))
            for seed in grid.seeds
            for natural in [Run(dataset, model, "natural", seed)]
            for group in grid.layers.groups
        ]
        if results.whole or all(run.result("layers").exists() and run.curve.exists() for _, run in found):
            yield from found
