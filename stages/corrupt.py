"""Corrupt: measure accuracy of one evaluated network under common corruptions of the test split.

Reads the prepared data and weights/DATASET/MODEL/METHOD-sSEED. Writes results/DATASET/MODEL/METHOD-sSEED-corrupt.json:
the number of correct images, clean and per corruption and severity; the source of the corrupted images, CIFAR-10-C or
generated; and the corruptions that could not be measured. Generated images are kept in $CURE_SCRATCH/corrupted for
other networks. An interrupted run continues at its last corruption and severity.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the code of this copy, not the installed one

from cure.runtime.progress import progress
from cure.runtime.terminal import Dataset, MethodName, Model, Seed, stage
from cure.settings.check import load
from cure.settings.sections import CorruptSuite
from cure.storage import paths
from cure.storage.paths import Run


def reads(run: Run) -> list[str]:
    """Return the params that dvc.yaml declares for this stage."""
    return ["run", "corrupt"]


def main(dataset: Dataset, model: Model, method: MethodName, seed: Seed) -> str:
    """Corrupt the test images with the section corrupt of params.yaml and count those still classified correctly."""
    from cure.evaluation import corrupted, evaluated_run
    from cure.evaluation.statistics.summaries import corrupted_summary
    from cure.evaluation.work_items import WorkItemFolder
    from cure.runtime import device
    from cure.storage import provenance, records
    from cure.storage.resume import Scratch

    run = Run(dataset, model, method, seed)
    params = load(reads(run), dataset, model)
    suite = params.get("corrupt", CorruptSuite)
    evaluated = evaluated_run.evaluated(run, params, suite, device.set_up)
    source = corrupted.source(suite, dataset, evaluated.about.data_digest, evaluated.split)
    missing = source.missing(suite.corruptions)
    for name, why in missing.items():
        print(f"corrupt {run.name}: without {name}: {why}", file=sys.stderr)
    scratch = Scratch("corrupt", run.name, params.as_text(), [paths.data(dataset), run.weights])
    total = (len(suite.corruptions) - len(missing)) * len(suite.severities)
    store = WorkItemFolder(scratch.folder)
    with scratch.locked(), progress(f"corrupt {run.name}", total) as on_progress:
        found = corrupted.measured(
            evaluated.net, evaluated.split, source, suite, lambda name, _: on_progress(name), store
        )
        records.write(run.result("corrupt"), found)
        provenance.write(run.provenance("corrupt"), evaluated.run_settings, evaluated.device)
        scratch.delete()
        return corrupted_summary(found)


if __name__ == "__main__":
    stage(main)
