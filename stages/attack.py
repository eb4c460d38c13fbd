"""Attack: clean and adversarial accuracy of one evaluated network on the test split.

Reads the prepared data and weights/DATASET/MODEL/METHOD-sSEED. Writes results/DATASET/MODEL/METHOD-sSEED-attack.json:
for every column the count of correct images and each image's outcome.
"""

import json

from cure import paths
from cure.check import load
from cure.files import write_text
from cure.paths import Cell
from cure.schema import AttackSuite, Run, Threat
from cure.terminal import progress, stage


def reads(cell: Cell) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["run", "threat", "attack"]


def main(dataset: str, model: str, method: str, seed: int) -> None:
    """Attack weights/DATASET/MODEL/METHOD-sSEED with the columns of the section attack of params.yaml.

    An image is robust in a column if it is classified correctly clean and at the last iterate of that attack.
    """
    from cure.engine import checkpoint, data, device, evaluate, provenance

    cell = Cell(dataset, model, method, seed)
    params = load(reads(cell), dataset, model)
    suite, run = params.get("attack", AttackSuite), params.get("run", Run)
    where = device.set_up(run)
    about, states = checkpoint.load(cell.weights)
    net = checkpoint.network(about, states[""], cell.weights).to(where)
    split = evaluate.test_split(about, data.load(paths.data(dataset), ("test",), where), suite.images)
    total = evaluate.batches(split, suite.batch) * len(suite.columns)
    with progress(f"attack {cell.name}", total) as tick:
        flags = evaluate.attacked(net, split, suite, params.get("threat", Threat), tick)
    result = {
        "images": len(split),
        "correct": {name: int(flag.sum()) for name, flag in flags.items()},
        "outcomes": {name: "".join("01"[int(hit)] for hit in flag) for name, flag in flags.items()},
        "epoch": about.epoch,
    }
    write_text(cell.result("attack"), json.dumps(result, indent=1) + "\n")
    provenance.write(cell.provenance("attack"), run, where)


if __name__ == "__main__":
    stage(main)
