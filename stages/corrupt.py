"""Corrupt: accuracy of one evaluated network under common corruptions of the test split.

Reads the prepared data and weights/DATASET/MODEL/METHOD-sSEED. Writes results/DATASET/MODEL/METHOD-sSEED-corrupt.json:
correct images per corruption and severity. Corrupted images are generated here, never taken for CIFAR-10-C's own.
"""

import json

from cure import catalogue
from cure.check import load
from cure.files import write_text
from cure.paths import Cell
from cure.schema import CorruptSuite
from cure.terminal import Dataset, MethodName, Model, Seed, progress, stage


def reads(cell: Cell) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["run", "corrupt"]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> None:
    """Corrupt the test images as the section corrupt of params.yaml says and count what the network still sees."""
    from cure.engine import evaluate, provenance

    cell = Cell(dataset, model, method, seed)
    params = load(reads(cell), dataset, model)
    suite = params.get("corrupt", CorruptSuite)
    bench = evaluate.bench(cell, params, suite)
    with progress(f"corrupt {cell.name}", len(suite.corruptions) * len(suite.severities)) as tick:
        counts = evaluate.corrupted(bench.net, bench.split, suite, tick)
    categories = {name: catalogue.entry("corruptions", name).CORRUPTION.category for name in suite.corruptions}
    result = {"images": len(bench.split), "source": "generated", "categories": categories, "correct": counts}
    write_text(cell.result("corrupt"), json.dumps(result, indent=1) + "\n")
    provenance.write(cell.provenance("corrupt"), bench.run, bench.device)


if __name__ == "__main__":
    stage(main)
