"""`cure plan`: what a pipeline will cost before it is started."""

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
from cure.pipeline.planning.step_profile import LONGEST, STEPS, Clock
from cure.pipeline.planning.tasks import KINDS, Task, tasks
from cure.pipeline.planning.training import revision, study, training
from cure.runtime import device
from cure.runtime.progress import progress
from cure.runtime.terminal import page, ruled
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
Costs = list[tuple[Task, Estimate]]


def place(words: list[str]) -> tuple[Path, list[str]]:
    """The folder, if the first word is one or can be nothing else, and the runs."""
    if words and ((first := Path(words[0])).is_dir() or first.is_absolute()):
        return first, words[1:]
    return Path(), words


def cost_model(facts: Facts, where: str, tflops: float | None, clock: Clock = time.perf_counter) -> CostModel:
    """What estimates of a folder rest on: this machine's device or, with `tflops`, a stated speed."""
    if where not in ("cpu", "cuda", "auto"):
        raise UserError(f"--device {where}: not a device; allowed: cpu, cuda or auto")
    run_settings = facts.params("", "").get("run", RunSettings)
    wanted = "cpu" if tflops is not None else where
    at = device.set_up(
        run_settings.model_copy(update={"device": wanted, **({"threads": 1} if tflops is not None else {})})
    )
    start = 0.0 if tflops is not None else started(clock)
    flops_per_second = None if tflops is None else tflops * 1e12
    return CostModel(facts, at, flops_per_second, clock, start, lambda event: print(event, file=sys.stderr, flush=True))


def started(clock: Clock) -> float:
    """Seconds until a stage computes: a Python that imports what training does."""
    begin = clock()
    subprocess.run([sys.executable, "-c", "import cure.training.job"], check=True)
    return clock() - begin


def costs(found: list[Task], on: CostModel) -> Costs:
    """The estimate of every task, done or not."""
    made: Costs = []
    with contextlib.chdir(on.facts.folder), progress("plan", len(found)) as on_progress:
        for task in found:
            made.append((task, ESTIMATES[task.kind](task, on)))
            on_progress(task.name)
    return made


def show(words: list[str], where: str, tflops: float | None, json: bool) -> None:
    """Print the plan of the folder and runs that `words` name."""
    if tflops is not None and not 0 < tflops < math.inf:
        raise UserError(f"--tflops {tflops:g}: not a speed; allowed: above 0 and finite, such as 60")
    folder, wanted = place(words)
    facts = Facts.of(folder.resolve())  # mistakes in it are told before DVC fails over them, and
    todo = tasks(facts.folder, wanted)  # a wrong name before anything is timed
    on = cost_model(facts, where, tflops)
    found = costs(todo, on)
    if json:
        print(text.dumps(as_json(found, on), indent=1))
    else:
        page().print(*as_tables(found, on), sep="\n")


def basis(on: CostModel) -> str:
    """What the hours are."""
    if on.flops_per_second is not None:
        return f"hours: an estimate, operations at {on.flops_per_second / 1e12:g} TFLOP/s; nothing was timed"
    name = (
        torch.cuda.get_device_name(on.device) if on.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    return (
        f"hours: an estimate for this machine ({name}), from up to {STEPS} training steps of each row, at most "
        f"{LONGEST:g} s of them at once, on random images; memory of training is "
        + ("the allocator's peak there" if on.device.type == "cuda" else "estimated from what graphs hold")
    )


def total(found: Costs) -> Estimate:
    """Of what is still to be done: sums, but the largest memory and the largest resume file."""
    todo = [cost for task, cost in found if not task.done]
    return Estimate(
        passes=sum((cost.passes for cost in todo), 0.0),
        flops=sum((cost.flops for cost in todo), 0.0),
        seconds=sum((cost.seconds for cost in todo), 0.0),
        memory=max((cost.memory for cost in todo), default=0),
        disk=sum(cost.disk for cost in todo),
        resume=max((cost.resume for cost in todo), default=0),
    )


def as_json(found: Costs, on: CostModel) -> dict[str, object]:
    """The same numbers in plain units: seconds and bytes."""
    stages = [
        {"stage": task.name, "kind": task.kind, "run": task.run.name, "done": task.done, **vars(cost)}
        for task, cost in found
    ]
    kinds = {kind: vars(total(_of(found, kind))) for kind in KINDS if _of(found, kind)}
    return {"basis": basis(on), "stages": stages, "kinds": kinds, "total": vars(total(found))}


def _of(found: Costs, kind: str) -> Costs:
    return [(task, cost) for task, cost in found if task.kind == kind]


HEADS = ("passes", "FLOP", "time", "memory", "disk", "resume file")


def as_tables(found: Costs, on: CostModel) -> list[object]:
    """A line for each stage of each run; then a line for each kind of stage, and the sum of what is to be done."""
    each, sums = ruled("stage", "done", *HEADS), ruled("to be done", "stages", *HEADS)
    for task, cost in found:
        each.add_row(task.name, "yes" if task.done else "", *_runs(cost))
    for kind in KINDS:
        if part := _of(found, kind):
            sums.add_row(kind, str(sum(not task.done for task, _ in part)), *_runs(total(part)))
    sums.add_row("all", str(sum(not task.done for task, _ in found)), *_runs(total(found)), style="bold")
    return [each, sums, basis(on)]


def _runs(cost: Estimate) -> list[str]:
    sizes = [f"{scaled(float(one), 1024)}B" if one else "" for one in (cost.memory, cost.disk, cost.resume)]
    return [scaled(cost.passes), scaled(cost.flops), duration(cost.seconds), *sizes]


def scaled(number: float, step: int = 1000) -> str:
    """Three digits and a prefix: 1.61 P; with steps of 1024, 4.2 Gi."""
    prefixes = ["", *("kMGTPE" if step == 1000 else ("Ki", "Mi", "Gi", "Ti"))]
    while abs(number) >= step and len(prefixes) > 1:
        number, prefixes = number / step, prefixes[1:]
    return f"{number:.0f} {prefixes[0]}" if number >= 100 else f"{number:.3g} {prefixes[0]}"


def duration(seconds: float) -> str:
    """In the unit that suits: 12 s, 4.2 min, 31 h."""
    unit, size = next(((u, s) for u, s in (("h", 3600), ("min", 60)) if seconds >= 2 * s), ("s", 1))
    return f"{seconds / size:.1f} {unit}"
