"""Attack: clean and adversarial accuracy of one evaluated network on the test split.

Reads the prepared data and weights/DATASET/MODEL/METHOD-sSEED. Writes results/DATASET/MODEL/METHOD-sSEED-attack.json:
each image's outcome in every column, which attack broke it, and the smallest perturbations. A run that was killed
continues at its last batch.
"""

import json

from cure import paths
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

    An image is robust in a column if it is classified correctly clean and after every attack of the column.
    """
    from cure.engine import evaluate, provenance, robustness
    from cure.engine.scratch import Scratch
    from cure.engine.units import Folder

    cell = Cell(dataset, model, method, seed)
    params = load(reads(cell), dataset, model)
    suite, threat = params.get("attack", AttackSuite), params.get("threat", Threat)
    bench = evaluate.bench(cell, params, suite)
    data = robustness.examples_of(bench.split)
    chains = robustness.chains(suite, threat, len(bench.about.classes))
    scratch = Scratch("attack", cell.name, params.as_text(), [paths.data(dataset), cell.weights])
    total, store = robustness.units(len(bench.split), chains, suite), Folder(scratch.folder)
    with scratch.locked(), progress(f"attack {cell.name}", total) as tick:
        columns = robustness.attacked(bench.net, data, chains, suite, lambda news: tick(str(news)), store)
        found = robustness.result(columns, data, suite, threat.eps)
        write_text(cell.result("attack"), json.dumps(found | {"epoch": bench.about.epoch}, indent=1) + "\n")
        provenance.write(cell.provenance("attack"), bench.run, bench.device)
        scratch.delete()


if __name__ == "__main__":
    stage(main)
