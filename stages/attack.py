"""Attack: clean and adversarial accuracy of one evaluated network on the test split.

Reads the prepared data and weights/DATASET/MODEL/METHOD-sSEED. Writes results/DATASET/MODEL/METHOD-sSEED-attack.json:
for every column the count of correct images and each image's outcome.
"""

import json

from cure.check import load
from cure.files import write_text
from cure.paths import Cell
from cure.schema import AttackSuite, Threat
from cure.terminal import Dataset, MethodName, Model, Seed, progress, stage


def reads(cell: Cell) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["run", "threat", "attack"]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> None:
    """Attack weights/DATASET/MODEL/METHOD-sSEED with the columns of the section attack of params.yaml.

    An image is robust in a column if it is classified correctly clean and at the last iterate of that attack.
    """
    from cure.engine import evaluate, provenance

    cell = Cell(dataset, model, method, seed)
    params = load(reads(cell), dataset, model)
    suite = params.get("attack", AttackSuite)
    bench = evaluate.bench(cell, params, suite)
    total = evaluate.batches(bench.split, suite.batch) * len(suite.columns)
    with progress(f"attack {cell.name}", total) as tick:
        flags = evaluate.attacked(bench.net, bench.split, suite, params.get("threat", Threat), tick)
    result = {
        "images": len(bench.split),
        "correct": {name: int(flag.sum()) for name, flag in flags.items()},
        "outcomes": {name: "".join("01"[int(hit)] for hit in flag) for name, flag in flags.items()},
        "epoch": bench.about.epoch,
    }
    write_text(cell.result("attack"), json.dumps(result, indent=1) + "\n")
    provenance.write(cell.provenance("attack"), bench.run, bench.device)


if __name__ == "__main__":
    stage(main)
