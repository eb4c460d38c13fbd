"""Run the analyses of one training run: the stage `analyse`. They read the validation split, never the test split."""

import itertools
import json

from safetensors.torch import save as to_bytes

from cure import catalogue
from cure.adversarial.pgd import ce_objective, pgd
from cure.core.analysis import Analysis, AnalysisResult, Subject, replayable
from cure.core.method import Method
from cure.data import prepared
from cure.data.loader import as_float
from cure.runtime import device
from cure.settings.params import Params
from cure.settings.sections import Analyse, RunSettings
from cure.storage import paths, provenance
from cure.storage.checkpoint import Description
from cure.storage.files import replacing
from cure.storage.paths import Run
from cure.storage.training_checkpoint import load_training_checkpoint, training_settings
from cure.training.job import parent
from cure.training.replay import Course, history


def analyse(run: Run, params: Params) -> list[str]:
    """Run every listed analysis that suits the method of a run, and write its arrays and the provenance file.

    Args:
        run: the run, whose stages `update` and `revise` are done.
        params: params.yaml, with the sections `run` and `analyse`.

    Returns:
        The names of the analyses that were run.
    """
    run_settings, suite = params.get("run", RunSettings), params.get("analyse", Analyse)
    where = device.set_up(run_settings)
    source = prepared.load(paths.data(run.dataset), ("val",), where)
    about, net = parent(run.weights, run, source.digest, "of the analysed network")
    course, states = load_training_checkpoint(run, source.digest)
    method: Method = catalogue.entry("methods", run.method).METHOD
    hyper = training_settings(course, method)
    images = source.splits["val"].evenly_spaced(suite.images)
    batches = list(itertools.islice(images.batches(suite.batch), suite.replays))
    training = Course(method, hyper, course, states, history(run.curve), batches, suite.seed)
    net.to(where)
    subject = Subject(
        net=net,
        method=method,
        hyper=hyper,
        x=as_float(images.images),
        y=images.labels,
        index=images.index,
        batch=suite.batch,
        seed=suite.seed,
        eps=suite.attack.eps,
        perturb=lambda batch: pgd(net, batch, suite.attack, ce_objective),
        phases=training.phases() if replayable(method) else [],
    )
    made = []
    for name, section in suite.entries.items():
        entry: Analysis = catalogue.entry("analyses", name).ANALYSIS
        if entry.suits(method):
            found = entry.measure(subject, catalogue.hyper("analyses", name).model_validate(section))
            write(run, name, about, found)
            made.append(name)
    provenance.write(run.provenance("analyse"), run_settings, where)
    return made


def write(run: Run, name: str, about: Description, found: AnalysisResult) -> None:
    """Write an analysis' arrays to a safetensors file, with class names and axis meanings in its header."""
    # The header has one metadata key, as in weight files: safetensors writes several keys in random order.
    facts = {"kind": name, "classes": about.classes, "epoch": about.epoch, "axes": found.axes}
    with replacing(run.analysis(name)) as draft:
        whole = {key: array.detach().cpu().contiguous() for key, array in found.arrays.items()}
        draft.write_bytes(to_bytes(whole, metadata={"cure": json.dumps(facts)}))
