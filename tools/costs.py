"""Write the estimates of `cure plan` for the root's grid: `python -m tools.costs`, `make costs`.

It replaces two tables of docs/reproducing.md, each between `<!-- costs: PART -->` and `<!-- end -->`; the text around
them is written by hand. It also writes reports/costs.csv, from which the report takes the cost of rows that were not
run.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from cure.core.names import NAMES, ORDER
from cure.pipeline.planning.command import ESTIMATES, build_cost_model, costs
from cure.pipeline.planning.cost_model import CostModel, Estimate
from cure.pipeline.planning.facts import Facts
from cure.pipeline.planning.tasks import Task, tasks
from cure.reporting.costs import COLUMNS, digits
from cure.storage.files import write_text
from cure.storage.paths import Run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproducing.md"
SPEED = 60.0  # TFLOP/s
BEYOND = (  # not in the root's grid: data sets and models that cost most or least
    ("cifar10", "resnet34"),
    ("cifar10", "resnet50"),
    ("cifar10", "resnet101"),
    ("svhn", "resnet18"),
    ("tiny_imagenet", "resnet18"),
    ("tiny_imagenet", "resnet34"),
    ("tiny_imagenet", "wrn_34_10"),
)
TITLES = {"wrn_34_10": "WRN-34-10", **{f"resnet{depth}": f"ResNet-{depth}" for depth in (18, 34, 50, 101)}}
TRAINING = ("pretrain", "update", "revise")
Costs = list[tuple[Task, Estimate]]


def line(cells: Iterable[object]) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def hours(found: Iterable[Estimate]) -> float:
    """Return the sum of the estimated times, in hours."""
    return sum(cost.seconds for cost in found) / 3600


def gib(found: Iterable[Estimate]) -> float:
    """Return the largest of the estimated memories, in GiB."""
    return float(max(cost.memory for cost in found)) / 2**30


def grid(found: Costs) -> list[str]:
    """Return the table of the root's grid, a line per method in GPU-hours and GiB, and the sums below it."""
    models = list(dict.fromkeys(task.run.model for task, _ in found))
    heads = [head for model in models for head in (f"{TITLES[model]}: training", "attack", "memory, GiB")]
    lines = [line(["method", *heads]), "|" + "---|" * (1 + len(heads))]
    for method in ORDER:
        cells: list[str] = []
        for model in models:
            mine = [(t, cost) for t, cost in found if (t.run.model, t.run.method) == (model, method)]
            trained = [cost for t, cost in mine if t.kind in TRAINING]
            attacked = [cost for t, cost in mine if t.kind == "attack"]
            if trained:
                cells += [digits(hours(trained)), digits(hours(attacked)), digits(gib([*trained, *attacked]))]
        lines += [line([NAMES[method], *cells])] if cells else []
    return [*lines, "", *sums(found, models)]


def rows(found: Costs) -> str:
    """Return costs.csv: the GPU-hours of one seed of every row, from its training to its analyses."""
    text, seed = [",".join(COLUMNS)], min(task.run.seed for task, _ in found)
    for run in dict.fromkeys(task.run for task, _ in found if task.kind != "layers" and task.run.seed == seed):
        own = hours(cost for task, cost in found if task.run == run and task.kind != "layers")
        text.append(f"{run.dataset},{run.model},{run.method},{SPEED:g},{own:.3g}")
    return "\n".join(text) + "\n"


def sums(found: Costs, models: list[str]) -> list[str]:
    """Return the sentence below the table: hours of each model, and the sums of hours, operations and disk."""
    each = [f"{hours(c for t, c in found if t.run.model == model):.0f} h for {TITLES[model]}" for model in models]
    study = hours(cost for task, cost in found if task.kind == "layers")
    flops, disk = (sum(getattr(cost, name) for _, cost in found) for name in ("flops", "disk"))
    whole = f"{hours(cost for _, cost in found):.0f} h ({flops / 1e18:.0f} EFLOP)"
    return [
        f"With the layer-wise study ({study:.0f} h), corruptions and analyses: {', '.join(each)},",
        f"{whole} in all, and {disk / 2**30:.0f} GiB of disk.",
    ]


def beyond(on: CostModel) -> list[str]:
    """Return the table of AT's costs on data sets and networks outside the root's grid."""
    heads = ["AT, one run", "training, PFLOP", "GPU-hours", "memory, GiB", "attack, PFLOP"]
    lines = [line(heads), "|" + "---|" * len(heads)]
    for dataset, model in BEYOND:
        run = Run(dataset, model, "at", 0)
        made = {kind: ESTIMATES[kind](Task("", kind, run), on) for kind in ("update", "attack")}
        train, attack = made["update"], made["attack"]
        size = f"{gib(made.values()):.1f}"
        numbers = [f"{train.flops / 1e15:.0f}", digits(hours([train])), size, f"{attack.flops / 1e15:.0f}"]
        lines.append(line([f"{dataset}, {TITLES[model]}", *numbers]))
    return lines


def rewritten(text: str, parts: dict[str, Callable[[], list[str]]]) -> str:
    """Replace each of these parts of the page; return the new text."""
    for name, make in parts.items():
        around = re.split(rf"(?s)(?<=<!-- costs: {name} -->\n\n).*?(?=\n\n<!-- end -->)", text)
        assert len(around) == 2, f"{PAGE}: not one part {name}"
        text = "\n".join(make()).join(around)
    return text


def main() -> None:
    """Rewrite the tables of docs/reproducing.md, and reports/costs.csv."""
    on = build_cost_model(Facts.of(ROOT), "cpu", SPEED)
    found = costs(tasks(ROOT, []), on)
    parts = {"grid": lambda: grid(found), "beyond": lambda: beyond(on)}
    PAGE.write_text(rewritten(PAGE.read_text(), parts), encoding="utf-8")
    write_text(ROOT / "reports" / "costs.csv", rows(found))


if __name__ == "__main__":
    main()
