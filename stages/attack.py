"""Attack: measure clean and adversarial accuracy of one evaluated network on the test split.

Reads the prepared data, weights/DATASET/MODEL/METHOD-sSEED and, for a method with a training of its own, the network of
its last epoch in trajectories/DATASET/MODEL/METHOD-sSEED. Writes results/DATASET/MODEL/METHOD-sSEED-attack.json: each
image's outcome in every column, the attack that broke it, the smallest perturbations, and the outcomes of the last
epoch. An interrupted run continues at its last batch.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure.runtime.progress import progress
from cure.runtime.terminal import Dataset, MethodName, Model, Seed, stage
from cure.settings.check import load
from cure.settings.sections import AttackSuite, Threat
from cure.storage import paths
from cure.storage.paths import Run


def reads(run: Run) -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    return ["run", "threat", "attack"]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> str:
    """Attack weights/DATASET/MODEL/METHOD-sSEED with the columns of the section attack of params.yaml.

    An image is robust in a column if it is classified correctly clean and after every attack of the column.
    """
    from cure.adversarial.cuda_graphs import graphs
    from cure.evaluation import attack_columns, evaluated_run
    from cure.evaluation.last_epoch import LastEpoch
    from cure.evaluation.statistics.results import RunAttackResult
    from cure.evaluation.statistics.summaries import attack_summary
    from cure.evaluation.work_items import WorkItemFolder
    from cure.runtime import distributed, torchrun
    from cure.storage import provenance, records
    from cure.storage.resume import Scratch

    run = Run(dataset, model, method, seed)
    params = load(reads(run), dataset, model)
    suite, threat = params.get("attack", AttackSuite), params.get("threat", Threat)
    evaluated = evaluated_run.evaluated(run, params, suite, torchrun.set_up)
    data = attack_columns.examples_of(evaluated.split)
    attack_sequences = attack_columns.attack_sequences(suite, threat, len(evaluated.about.classes))
    last_epoch = LastEpoch(run, evaluated, suite, threat)
    inputs = [
        paths.data(dataset),
        run.weights,
        *([run.training_checkpoint] if run.training_checkpoint.exists() else []),
    ]
    scratch = Scratch("attack", run.name, params.as_text(), inputs)
    total, store = (
        attack_columns.work_items(len(evaluated.split), attack_sequences, suite) + last_epoch.work_items,
        WorkItemFolder(scratch.folder),
    )
    wanted = graphs(evaluated.run_settings.graphs)
    with torchrun.alone(scratch.locked), progress(f"attack {run.name}", total) as on_progress, wanted:
        columns = attack_columns.attacked(
            evaluated.net, data, attack_sequences, suite, lambda event: on_progress(str(event)), store
        )
        found = attack_columns.result(columns, data, suite, threat.eps)
        last = last_epoch.outcomes(found, lambda event: on_progress(f"last epoch: {event}"), store)
        distributed.wait()
        if distributed.rank() > 0:
            return ""
        given = {name: value for name, value in vars(found).items() if name in found.model_fields_set}
        whole = RunAttackResult(**given, epoch=evaluated.about.epoch, last=last)
        records.write(run.result("attack"), whole)
        provenance.write(run.provenance("attack"), evaluated.run_settings, evaluated.device)
        scratch.delete()
        return attack_summary(whole, ["clean", *suite.table])


if __name__ == "__main__":
    stage(main)
