"""Run the layer-wise study: adversarial training of some parts of the natural network, with all others frozen.

It uses the training loop of every run (training/loop.py). Only the preparation of the network differs (nn/freezing.py).
All numbers are measured on the validation split.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from cure.core.method import Method
from cure.core.names import block_set
from cure.core.network import Network
from cure.core.tensors import Flags
from cure.data import prepared
from cure.evaluation.statistics.results import LayersNetwork, LayersResult
from cure.nn.freezing import freeze, reinitialise
from cure.runtime import device
from cure.runtime.memory import fitting
from cure.runtime.progress import progress
from cure.settings.layers import Freezing, Variant
from cure.storage import paths, provenance, records
from cure.storage.files import write_text
from cure.storage.resume import Scratch
from cure.training.job import Job
from cure.training.loop import Task, train
from cure.training.train_run import curve
from cure.training.validation import validated

Sets = dict[str, list[str]]


@dataclass(frozen=True)
class Study:
    """The block sets that one process trains, all with the method and schedule of `job`."""

    job: Job
    variant: Variant
    sets: Sets
    how: Freezing

    def of(self, name: str) -> Job:
        """Return the training job of one block set."""
        return replace(self.job, method=self.updating(self.sets[name]))

    def updating(self, parts: list[str]) -> Method:
        """Return the method, changed to start from the natural network and to train `parts` alone.

        The variant `reinit` gives these parts fresh weights first.
        """

        def prepare(net: nn.Module, hyper: Any) -> None:
            assert isinstance(net, Network)
            if self.variant == "reinit":
                reinitialise(net, parts, self.job.run.seed, reinit_bn=self.how.reinit_bn)
            freeze(net, parts, freeze_stem=self.how.freeze_stem, bn_frozen_eval=self.how.bn_frozen_eval)

        return replace(self.job.method, init="natural", prepare=prepare)


def execute(study: Study) -> str:
    """Train every block set, or finish an interrupted run; then write one curve, one result and one provenance file.

    The resume file of a finished set is kept until all sets are finished, so an interrupted run continues at its last
    epoch.

    Returns:
        The number of sets and the accuracy of the most robust one, as text.
    """
    job = study.job
    where = device.set_up(job.run_settings)
    source = prepared.load(paths.data(job.run.dataset), ("train", "val"), where)
    inputs = [source.path, job.run.of("natural").weights]
    labels = [job.run.name, *(f"{job.run.name} {name}" for name in study.sets)]
    whole, *each = (Scratch(job.stage, label, job.params.as_text(), inputs) for label in labels)
    history, networks = list[dict[str, Any]](), {"natural": _natural(job, source, where)}
    with whole.locked():
        with progress(f"{job.stage} {job.run.name}", len(study.sets) * job.fit.epochs, unit="epoch") as on_progress:
            for name, scratch in zip(study.sets, each, strict=True):
                lines, networks[name] = _trained(study, name, source, where, scratch, on_progress)
                history += lines
        found = LayersResult(images=len(source.splits["val"]), epochs=job.fit.epochs, networks=networks)
        records.write(job.run.result(job.stage), found)
        write_text(job.run.curve, curve(history))
        provenance.write(job.run.provenance(job.stage), job.run_settings, where, epochs=job.fit.epochs)
        for scratch in each:
            scratch.delete()
    best = max(found.networks, key=lambda name: found.networks[name].pgd.count("1"))
    robust = 100 * found.networks[best].pgd.count("1") / found.images
    return (
        f"{len(study.sets)} block sets, most robust {block_set(best)}: PGD-{job.fit.validate_attack.steps} {robust:.1f}"
    )


def _natural(job: Job, source: prepared.Data, where: torch.device) -> LayersNetwork:
    net = job.parent("natural", source).to(where)
    return LayersNetwork(parts=[], updated=0.0, **_texts(validated(net, source.splits["val"], job.fit, job.run.seed)))


def _trained(
    study: Study,
    name: str,
    source: prepared.Data,
    where: torch.device,
    scratch: Scratch,
    on_progress: Callable[[str], None],
) -> tuple[list[dict[str, Any]], LayersNetwork]:
    """Train one block set; return its curve, one dictionary per epoch, and the outcomes of its last network."""
    job, val = study.of(name), source.splits["val"]
    nets = job.assemble(source).to(where)
    task = Task(job, nets, source.splits["train"], val, where)
    with fitting("layers.update.train.batch", job.fit.batch):
        kept = train(task, scratch, on_progress)
    flags = validated(nets.student, val, job.fit, job.run.seed)
    found = LayersNetwork(parts=study.sets[name], updated=_updated(nets.student), **_texts(flags))
    return [{"set": name, **line} for line in kept.history], found


def _texts(flags: dict[str, Flags]) -> dict[str, str]:
    """Write the outcomes of each attack as one character per image, as in evaluation/statistics/paired_outcomes.py."""
    return {name: "".join("01"[int(hit)] for hit in flag) for name, flag in flags.items()}


def _updated(net: nn.Module) -> float:
    """Return the trained share of the network's weights, in [0, 1]."""
    counts = [(weight.numel(), weight.requires_grad) for weight in net.parameters()]
    return sum(n for n, wants in counts if wants) / sum(n for n, _ in counts)
