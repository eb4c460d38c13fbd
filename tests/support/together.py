"""Work for two ranks and for one process, for test_distributed.py; `python -m tests.support.together FOLDER RANK`."""

import copy
import itertools
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as group
from torch import nn

from cure import catalogue
from cure.core.method import Networks
from cure.data import loader
from cure.data.loader import Split
from cure.evaluation.attack_columns import attack_sequences, attacked, examples_of, result
from cure.evaluation.driver import Driver
from cure.evaluation.work_items import WorkItemFolder
from cure.nn import memory_format
from cure.runtime import distributed
from cure.settings.base import Search
from cure.settings.sections import AttackSuite, Fit, RunSettings, Threat
from cure.storage import resume
from cure.storage.checkpoint import build
from cure.storage.paths import Run
from cure.storage.resume import Scratch
from cure.training.job import Job
from cure.training.loop import Task, train
from tests.support.method_harness import QUICKSTART, parsed, shipped
from tests.support.training import of_run

METHODS = [
    name
    for name in catalogue.names("methods")
    if (entry := catalogue.entry("methods", name).METHOD).updates and entry.prepare is None
]
SEARCH = Search(eps=0.1, step=0.05, steps=2, start="uniform", clip_start=True)
FIT = {"epochs": 2, "batch": 8, "lr": 0.05, "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4, "drops": {}}
FIT |= {"select": "best", "average": None, "average_images": 16, "validate_every": 1, "snapshots": []}
FIT |= {"lr_schedule": "drops", "validate_attack": SEARCH.model_dump()}
CHANGES = {  # two epochs then mix and hand over, and a loss divides by a sum over the batch
    "generalist": {"beta": {1: 0.6}, "begin": 2},
    "ikl_at": {"gamma": 0.2, "temperature": 0.1},
}


def split(seed: int, n: int) -> Split:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, 1, 8, 8), generator=draws).to(torch.uint8)
    return Split(images, torch.randint(10, (n,), generator=draws))


def without_norms(net: nn.Module) -> nn.Module:
    """Remove batch norms, since statistics of each rank's rows would make two ranks differ from one."""
    for parent in list(net.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, key, nn.Identity())
    return net


def trained(method: str, folder: Path, norms: bool) -> dict[str, Any]:
    """Return states, history and best network after two epochs of 8 and 5 images, in float64."""
    loader.as_float = lambda images: images.double().div_(255)
    resume.FOLDER = folder
    torch.manual_seed(0)
    entry = catalogue.entry("methods", method).METHOD
    hyper = shipped(method).model_copy(update=CHANGES.get(method, {}))
    student = build("small", {"width": 4}, 1, 10).double()
    student = student if norms else without_norms(student)
    companions = entry.companions(hyper) if entry.companions else {}
    nets = Networks(student, companions, {role: copy.deepcopy(student) for role in entry.teachers}).double()
    params = of_run(RunSettings(**parsed(QUICKSTART)["run"]))
    job = Job("update", Run("digits", "small", method, 0), params, entry, hyper, Fit(**FIT))
    task = Task(job, nets, split(1, 13), split(2, 5), torch.device("cpu"))
    kept = train(task, Scratch("update", f"{method} {norms}", {}, []), lambda note: None)
    return {"state": nets.state_dict(), "history": kept.history, "best": kept.best.weights}


def evaluated(folder: Path) -> dict[str, Any]:
    """Return the result of an attack suite, and how many work items this process computed itself."""
    computed = []

    class Counted(WorkItemFolder):
        def __setitem__(self, key: str, unit: Any) -> None:
            computed.append(key)
            super().__setitem__(key, unit)

    raw = parsed(QUICKSTART)["attack"] | {"images": 30, "batch": 4, "layout": "probe", "last": []}
    few = {"subset": {}, "table": ["pgd20"], "nrr": "pgd20", "columns": {"pgd20": raw["columns"]["pgd20"]}}
    suite, threat = AttackSuite(**(raw | few)), Threat(eps=0.02, step=0.005)
    torch.manual_seed(0)
    net = build("small", {"width": 4}, 1, 10).eval()
    data = examples_of(split(3, 30))
    data = type(data)(
        data.x, net(data.x).argmax(1), data.index
    )  # all correct at first, so that every work item is needed
    turns = itertools.count(step=-1 if distributed.rank() else 1)  # each rank finds another layout faster
    with mock.patch.object(memory_format, "_fastest", side_effect=lambda *_: next(turns)):
        columns = attacked(
            net, data, attack_sequences(suite, threat, 10), suite, lambda event: None, Counted(folder / "units")
        )
    return {
        "result": result(columns, data, suite, threat.eps).document(),
        "units": len(computed),
        "driver": Driver.__name__,
    }


def everything(folder: Path) -> dict[str, Any]:
    """Return all results by name."""
    found = {method: trained(method, folder, norms=False) for method in METHODS}
    found["norms"] = trained("cure", folder, norms=True)
    loader.as_float = lambda images: images.float().div_(255)
    return found | {"evaluated": evaluated(folder)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, me = Path(sys.argv[1]), int(sys.argv[2])
    group.init_process_group("gloo", init_method=f"file://{place / 'meeting'}", rank=me, world_size=2)
    torch.save(everything(place), place / f"rank{distributed.rank()}.pt")
    distributed.wait()
    group.destroy_process_group()
