"""Corrupt: accuracy of one evaluated network under common corruptions of the test split.

Reads the prepared data and weights/DATASET/MODEL/METHOD-sSEED. Writes results/DATASET/MODEL/METHOD-sSEED-corrupt.json:
correct images per corruption and severity. Corrupted images are generated here, never taken for CIFAR-10-C's own.
"""

import json

from cure import catalogue, paths
from cure.check import load
from cure.files import write_text
from cure.paths import Cell
from cure.schema import CorruptSuite, Run
from cure.terminal import progress, stage


def reads(cell: Cell) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["run", "corrupt"]


def main(dataset: str, model: str, method: str, seed: int) -> None:
    """Corrupt the test images as the section corrupt of params.yaml says and count what the network still sees."""
    from cure.engine import checkpoint, data, device, evaluate, provenance

    cell = Cell(dataset, model, method, seed)
    params = load(reads(cell), dataset, model)
    suite, run = params.get("corrupt", CorruptSuite), params.get("run", Run)
    where = device.set_up(run)
    about, states = checkpoint.load(cell.weights)
    net = checkpoint.network(about, states[""], cell.weights).to(where)
    split = evaluate.test_split(about, data.load(paths.data(dataset), ("test",), where), suite.images)
    with progress(f"corrupt {cell.name}", len(suite.corruptions) * len(suite.severities)) as tick:
        counts = evaluate.corrupted(net, split, suite, tick)
    categories = {name: catalogue.entry("corruptions", name).CORRUPTION.category for name in suite.corruptions}
    result = {"images": len(split), "source": "generated", "categories": categories, "correct": counts}
    write_text(cell.result("corrupt"), json.dumps(result, indent=1) + "\n")
    provenance.write(cell.provenance("corrupt"), run, where)


if __name__ == "__main__":
    stage(main)
