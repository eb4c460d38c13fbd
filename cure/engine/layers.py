"""The layer-wise study: adversarial training of some parts of the natural network, the others frozen.

It trains by engine/fit.py as every row does; what is special is how the network is prepared (core/freezing.py). All
its numbers are of the validation split.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from cure import paths
from cure.core.freezing import freeze, reinitialise
from cure.core.method import Method
from cure.core.network import Network
from cure.core.tensors import Flags
from cure.engine import data, device, provenance
from cure.engine.cell import Job, curve
from cure.engine.fit import Task, train, validated
from cure.engine.scratch import Scratch
from cure.files import write_text
from cure.schema import Freezing
from cure.terminal import progress

Sets = dict[str, list[str]]
Variant = Literal["reinit", "finetune"]


@dataclass(frozen=True)
class Study:
    """The block sets that one process trains, all by the method and schedule of `job`."""

    job: Job
    variant: Variant
    sets: Sets
    how: Freezing

    def of(self, name: str) -> Job:
        """The training of one set."""
        return replace(self.job, method=self.updating(self.sets[name]))

    def updating(self, parts: list[str]) -> Method:
        """The method, from the natural network and on `parts` alone, which `reinit` gives fresh weights first."""

        def prepare(net: nn.Module) -> None:
            assert isinstance(net, Network)
            if self.variant == "reinit":
                reinitialise(net, parts, self.job.cell.seed, reinit_bn=self.how.reinit_bn)
            freeze(net, parts, freeze_stem=self.how.freeze_stem, bn_frozen_eval=self.how.bn_frozen_eval)

        return replace(self.job.method, init="natural", prepare=prepare)


def execute(study: Study) -> None:
    """Train every set, or finish an interrupted run, and write one curve, one result and one sidecar.

    A set that is done keeps its resume file until all are, so that a run continues at the epoch where it was cut off.
    """
    job = study.job
    where = device.set_up(job.run)
    source = data.load(paths.data(job.cell.dataset), ("train", "val"), where)
    inputs = [source.path, job.cell.of("natural").weights]
    whole, *each = (
        Scratch(job.stage, f"{job.cell.name} {name}".strip(), job.params.as_text(), inputs) for name in ("", *study.sets)
    )
    train_split, val = source.splits["train"], source.splits["val"]
    history, found = list[dict[str, Any]](), dict[str, Any]()
    with whole.locked():
        natural = job.parent("natural", source).to(where)
        found["natural"] = {"parts": [], "updated": 0.0, **_texts(validated(natural, val, job.fit, job.cell.seed))}
        with progress(f"{job.stage} {job.cell.name}", len(study.sets) * job.fit.epochs) as tick:
            for scratch, (name, parts) in zip(each, study.sets.items(), strict=True):
                one = study.of(name)
                nets = one.assemble(source).to(where)
                task = Task(nets, one.method, job.hyper, job.fit, train_split, val, job.augment, job.cell.seed, where)
                kept = train(task, scratch, tick)
                history += [{"set": name, **row} for row in kept.history]
                flags = validated(nets.student, val, job.fit, job.cell.seed)
                found[name] = {"parts": parts, "updated": _updated(nets.student), **_texts(flags)}
        about = {"variant": study.variant, "images": len(val), "epochs": job.fit.epochs, "networks": found}
        write_text(job.cell.result(job.stage), json.dumps(about, indent=1) + "\n")
        write_text(job.cell.curve, curve(history))
        provenance.write(job.cell.provenance(job.stage), job.run, where, epochs=job.fit.epochs)
        for scratch in each:
            scratch.delete()


def _texts(flags: dict[str, Flags]) -> dict[str, str]:
    """Each outcome as a text with one character per image, as in engine/paired.py."""
    return {name: "".join("01"[int(hit)] for hit in flag) for name, flag in flags.items()}


def _updated(net: nn.Module) -> float:
    """The share of the network's weights that were trained."""
    counts = [(weight.numel(), weight.requires_grad) for weight in net.parameters()]
    return sum(n for n, wants in counts if wants) / sum(n for n, _ in counts)
