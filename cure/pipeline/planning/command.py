"""`cure plan`: estimate the cost of a pipeline before it is started."""

import contextlib
import json as text
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cure.errors import UserError
from cure.pipeline.planning.cost_model import CostModel, Estimate
from cure.pipeline.planning.facts import Facts
from cure.pipeline.planning.measuring import analysing, attacking, corrupting
from cure.pipeline.planning.printing import Costs, each_run, sums
from cure.pipeline.planning.step_profile import LONGEST, STEPS, Clock
from cure.pipeline.planning.tasks import KINDS, Task, tasks
from cure.pipeline.planning.training import revision, study, training
from cure.runtime import device
from cure.runtime.console import page, say
from cure.runtime.progress import progress
from cure.settings.sections import RunSettings

ESTIMATES: dict[str, Callable[[Task, CostModel], Estimate]] = {
    "pretrain": training,
    "update": training,
    "revise": revision,
    "attack": attacking,
    "corrupt": corrupting,
    "analyse": analysing,
    "layers": study,
}


def folder_and_names(arguments: list[str]) -> tuple[Path, list[str]]:
    """Return the pipeline folder, which the first argument may name, and the names of stages or runs."""
    if arguments and ((first := Path(arguments[0])).is_dir() or first.is_absolute()):
        return first, arguments[1:]
    return Path(), arguments


def build_cost_model(
    facts: Facts, device_name: str, tflops: float | None, clock: Clock = time.perf_counter
) -> CostModel:
    """Return the cost model of a folder, for this machine's device or, with `tflops`, for a stated speed."""
    if device_name not in ("cpu", "cuda", "auto"):
        raise UserError(f"--device {device_name}: not a device; allowed: cpu, cuda or auto")
    run_settings = facts.params("", "").get("run", RunSettings)
    update = {"device": device_name} if tflops is None else {"device": "cpu", "threads": 1}
    where = device.set_up(run_settings.model_copy(update=update))
    start = 0.0 if tflops is not None else startup_seconds(clock)
    flops_per_second = None if tflops is None else tflops * 1e12
    return CostModel(
        facts, where, flops_per_second, clock, start, lambda note: print(note, file=sys.stderr, flush=True)
    )


def startup_seconds(clock: Clock) -> float:
    """Time the start of a stage: a Python process that imports the modules of training."""
    begin = clock()
    subprocess.run([sys.executable, "-c", "import cure.training.train_run"], check=True)
    return clock() - begin


def costs(found: list[Task], cost_model: CostModel) -> Costs:
    """Estimate every task, done or not."""
    estimates: Costs = []
    with contextlib.chdir(cost_model.facts.folder), progress("plan", len(found)) as on_progress:
        for task in found:
            estimates.append((task, ESTIMATES[task.kind](task, cost_model)))
            on_progress(task.name)
    return estimates


def show(arguments: list[str], device_name: str, tflops: float | None, json: bool) -> None:
    """Print the plan of the folder and of the stages or runs that the arguments name."""
    if tflops is not None and not 0 < tflops < math.inf:
        raise UserError(f"--tflops {tflops:g}: not a speed; allowed: above 0 and finite, such as 60")
    folder, names = folder_and_names(arguments)
    facts = Facts.of(folder.resolve())  # reports mistakes in params.yaml before DVC fails on them
    chosen = tasks(facts.folder, names)  # reports a wrong name before anything is timed
    cost_model = build_cost_model(facts, device_name, tflops)
    found = costs(chosen, cost_model)
    if json:
        print(text.dumps(as_json(found, cost_model), indent=1))
    else:
        console, (table, members) = page(), each_run(found)
        console.print(table, "")
        for line in members:
            say(console, line, "dim")
        console.print("", sums(counted(found)), "")
        say(console, basis(cost_model))


def basis(cost_model: CostModel) -> str:
    """Describe how the hours were estimated."""
    if cost_model.flops_per_second is not None:
        return f"hours: an estimate, operations at {cost_model.flops_per_second / 1e12:g} TFLOP/s; nothing was timed"
    name = (
        torch.cuda.get_device_name(cost_model.device)
        if cost_model.device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return (
        f"hours: an estimate for this machine ({name}), from up to {STEPS} training steps of each method, at most "
        f"{LONGEST:g} s of them at once, on random images; memory of training is "
        + (
            "the allocator's peak there"
            if cost_model.device.type == "cuda"
            else "estimated from the tensors that graphs hold"
        )
    )


def total(found: Costs) -> Estimate:
    """Sum the tasks that are not done; of memory and resume files, take the largest."""
    todo = [cost for task, cost in found if not task.done]
    return Estimate(
        passes=sum((cost.passes for cost in todo), 0.0),
        flops=sum((cost.flops for cost in todo), 0.0),
        seconds=sum((cost.seconds for cost in todo), 0.0),
        memory=max((cost.memory for cost in todo), default=0),
        disk=sum(cost.disk for cost in todo),
        resume=max((cost.resume for cost in todo), default=0),
    )


def counted(found: Costs) -> list[tuple[str, int, Estimate]]:
    """Return for each kind of stage, and last for all, how many are to be done and what they cost together."""
    parts = [(kind, part) for kind in KINDS if (part := _of(found, kind))]
    return [(kind, sum(not task.done for task, _ in part), total(part)) for kind, part in [*parts, ("all", found)]]


def as_json(found: Costs, cost_model: CostModel) -> dict[str, object]:
    """Return the plan in plain units: seconds and bytes."""
    stages = [
        {"stage": task.name, "kind": task.kind, "run": task.run.name, "done": task.done, **vars(cost)}
        for task, cost in found
    ]
    kinds = {kind: vars(total(_of(found, kind))) for kind in KINDS if _of(found, kind)}
    return {"basis": basis(cost_model), "stages": stages, "kinds": kinds, "total": vars(total(found))}


def _of(found: Costs, kind: str) -> Costs:
    return [(task, cost) for task, cost in found if task.kind == kind]
