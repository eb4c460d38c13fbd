"""Attack: clean and adversarial accuracy of one evaluated network on the test split.

Reads the prepared data, weights/DATASET/MODEL/METHOD-sSEED and, of a row with a training of its own, the network of
the last epoch in trajectories/DATASET/MODEL/METHOD-sSEED. Writes results/DATASET/MODEL/METHOD-sSEED-attack.json: each
image's outcome in every column, which attack broke it, the smallest perturbations, and the outcomes of the last epoch.
A run that was killed continues at its last batch.
"""

import json

from cure.runtime.terminal import Dataset, MethodName, Model, Seed, progress, stage
from cure.settings.check import load
from cure.settings.sections import AttackSuite, Threat
from cure.storage import paths
from cure.storage.files import write_text
from cure.storage.paths import Cell


def reads(cell: Cell) -> list[str]:
    """The params that dvc.yaml declares for this stage."""
    return ["run", "threat", "attack"]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> None:
    """Attack weights/DATASET/MODEL/METHOD-sSEED with the columns of the section attack of params.yaml.

    An image is robust in a column if it is classified correctly clean and after every attack of the column.
    """
    from cure.evaluation import attack_columns, evaluated_run
    from cure.evaluation.last_epoch import Last
    from cure.evaluation.work_items import Folder
    from cure.runtime import distributed, torchrun
    from cure.storage import provenance
    from cure.storage.resume import Scratch

    cell = Cell(dataset, model, method, seed)
    params = load(reads(cell), dataset, model)
    suite, threat = params.get("attack", AttackSuite), params.get("threat", Threat)
    bench = evaluated_run.bench(cell, params, suite, torchrun.set_up)
    data = attack_columns.examples_of(bench.split)
    chains = attack_columns.chains(suite, threat, len(bench.about.classes))
    last = Last(cell, bench, suite, threat)
    inputs = [paths.data(dataset), cell.weights, *([cell.trajectory] if cell.trajectory.exists() else [])]
    scratch = Scratch("attack", cell.name, params.as_text(), inputs)
    total, store = attack_columns.units(len(bench.split), chains, suite) + last.units, Folder(scratch.folder)
    with torchrun.alone(scratch.locked), progress(f"attack {cell.name}", total) as tick:
        columns = attack_columns.attacked(bench.net, data, chains, suite, lambda news: tick(str(news)), store)
        found = attack_columns.result(columns, data, suite, threat.eps) | {"epoch": bench.about.epoch}
        found["last"] = last.outcomes(found, lambda news: tick(f"last epoch: {news}"), store)
        distributed.wait()
        if distributed.rank() > 0:
            return
        write_text(cell.result("attack"), json.dumps(found, indent=1) + "\n")
        provenance.write(cell.provenance("attack"), bench.run, bench.device)
        scratch.delete()


if __name__ == "__main__":
    stage(main)
