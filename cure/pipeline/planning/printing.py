"""The plan as a person reads it: a line for all runs of one cost, what is to be done, and readable numbers."""

from cure.pipeline.planning.cost_model import Estimate
from cure.pipeline.planning.tasks import Task
from cure.runtime.console import WholeTable

HEADS = ("passes", "FLOP", "time", "memory", "disk", "resume file")
Costs = list[tuple[Task, Estimate]]


def each_run(found: Costs) -> tuple[WholeTable, list[str]]:
    """Return a table with a line for each cost, and sentences that name the methods of a line for several runs.

    Stages of one kind and setting that cost the same are one line.
    """
    groups = dict[tuple[object, ...], list[Task]]()
    for task, cost in found:
        key = task.kind, task.run.dataset, task.run.model, task.done, *formatted(cost)
        groups.setdefault(key, []).append(task)
    table, members = WholeTable("stage", "runs", "done", *HEADS, title="Cost of each run"), list[str]()
    for (kind, dataset, model, done, *numbers), tasks in groups.items():
        name = f"{kind} {dataset}/{model}" if len(tasks) > 1 else f"{kind} {tasks[0].run.name}"
        table.add_row(name, str(len(tasks)), "yes" if done else "", *map(str, numbers))
        if len(tasks) > 1:
            members.append(f"- {name}, {len(tasks)} runs: {_methods(tasks)}")
    return table, members


def _methods(tasks: list[Task]) -> str:
    """Return the methods of some runs, and their seeds where there are several."""
    seeds = sorted({task.run.seed for task in tasks})
    methods = ", ".join(dict.fromkeys(task.run.method for task in tasks))
    return methods + (f"; seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else "")


def sums(counted: list[tuple[str, int, Estimate]]) -> WholeTable:
    """Return a table with the number of stages to be done of each kind and their cost; the last line sums them."""
    table = WholeTable("stage", "to be done", *HEADS, title="To be done")
    for name, count, cost in counted:
        if count or name == counted[-1][0]:
            table.add_row(name, str(count), *formatted(cost), style="bold" if name == counted[-1][0] else "")
    return table


def formatted(cost: Estimate) -> list[str]:
    """Return the cells of `HEADS`; what takes no space has none."""
    sizes = [f"{scaled(float(one), 1024)}B" if one else "" for one in (cost.memory, cost.disk, cost.resume)]
    return [scaled(cost.passes).strip(), scaled(cost.flops).strip(), duration(cost.seconds), *sizes]


def scaled(number: float, step: int = 1000) -> str:
    """Format with three digits and a prefix: 1.61 P; with steps of 1024, 4.2 Gi."""
    prefixes = ["", *("kMGTPE" if step == 1000 else ("Ki", "Mi", "Gi", "Ti"))]
    while abs(number) >= step and len(prefixes) > 1:
        number, prefixes = number / step, prefixes[1:]
    return f"{number:.0f} {prefixes[0]}" if number >= 100 else f"{number:.3g} {prefixes[0]}"


def duration(seconds: float) -> str:
    """Format in a suitable unit: 12 s, 4.2 min, 31 h."""
    unit, size = next(((u, s) for u, s in (("h", 3600), ("min", 60)) if seconds >= 2 * s), ("s", 1))
    return f"{seconds / size:.1f} {unit}"
