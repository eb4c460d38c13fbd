"""Write docs/performance.md from the benchmarks' JSON files: `python -m tools.performance FILE.json ...`.

`make bench` runs the benchmarks and then this. Every number is measured or counted, except the bars, which the
benchmarks set.
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
Benchmark = dict[str, Any]  # the record of one benchmark
HEAD = """# Performance

Our training steps were timed on one CPU thread, against steps written for the benchmark with the authors' passes and
our formulas. **No GPU has been measured.** The ratios below are ours / theirs, so below 1 we are faster; where a bar
is missed, the last section says why.

`make bench` writes this page from runs of tests/benchmarks. Weights and images are random, and batches are small.

| term | meaning |
|---|---|
| against | a common package, or a step with the pass structure of the authors' code (tests/support/released) |
| ratio | our time / their time on the same work: the median over rounds in which the two take turns |
| least - greatest | the smallest and the largest ratio of a round |
| passes | ours / theirs per image; a forward, a gradient to the activations and one to the weights are 1 each |
| operations | ours / theirs; PyTorch's (aten), about the kernels that a GPU would launch |
| held | bytes that autograd keeps for backward passes at most, as a share of theirs |
| bar, met | the ratio that the project set as its own aim, and whether it is reached |

Tests hold passes, operations and held bytes to their budgets (tests/methods/test_budgets.py). The aim for held bytes is
0.55. CURE meets it; TRADES needs two of the three forwards that theirs keeps.

The aims for an H100, which nobody measured: an epoch of AT with ResNet-18 on 50,000 images in 5 s in bf16, of CURE in
6 s, AutoAttack `standard` of 10,000 images in 9 minutes in tf32. pilot/merge.py will write measurements of a GPU to a
folder of pilot/lent.
"""
PEAK = """Floating-point operations per second of a step, as a share of those of a matrix product in the same run, the
faster of `a @ b` and the same product as a 1x1 convolution (MKL's is slow on some CPUs). 3x3 convolutions may exceed
100 % by algorithms that multiply less. Only convolutions of a step are counted."""
HALF = """The effect of bfloat16, on networks and test images of the quickstart. fp32 and bf16: robust accuracy after
ten steps of an attack, and after AutoAttack `standard` on fewer images, verified in fp32. By chance: the share of flags
that differ under another seed of the start or, for AutoAttack, another batch size, on which the reference's own
flags depend. Step: the distance between the update of one training step in bfloat16 and the one in fp32, divided by
the length of the latter, with every forward (`bf16`) or the attack's alone (`bf16_attack`) in bfloat16. The two agree
where nearly all of the distance comes from the attack: signs of small gradients differ, and TRADES' attack starts
where its gradient is almost zero."""
LIMITS = {
    "steps": """Passes are counted above, and code with as many passes cannot avoid their arithmetic: a step
on ResNet-18 is almost only convolutions, at the share of the peak given above. On the small network batch
norm, ReLU and additions of the training forwards weigh more, which cannot be folded away.""",
    "attacks": """PGD-20 takes as many passes as torchattacks; the rest on a small network is convolutions,
ReLUs and additions, which folding does not change. For AutoAttack the driver calls the package's own attack
classes, so that flags are the package's by construction. Their own arithmetic (FAB sorts every
image's pixels, Square draws and copies squares) is the same in both and takes {own:.0%} of our time on
small_resnet; the network's part is folded, frozen and in the faster layout, by which forwards without a
gradient, which are most of AutoAttack, gain less than gradients do. More could be had inside the classes alone:
dropping broken images during an attack, one clean forward for all targets.""",
    "parts": """Thresholds with the comparison of every score and the writing of every mask; in training it is a few
percent.""",
}
SECTIONS = {"steps": "A step of every method", "attacks": "Attacks", "parts": "Mask, batches, epoch"}


def page(files: list[Path]) -> str:
    """Return the whole page, one part per device."""
    devices: dict[str, list[dict[str, Any]]] = {}
    for found in (json.loads(file.read_text()) for file in files):
        devices.setdefault(found["benchmarks"][0]["extra_info"]["device"], []).append(found)
    return "\n".join([HEAD, *(part(found) for found in devices.values())])


def part(files: list[dict[str, Any]]) -> str:
    """Return the measurements of one device; if runs overlap, the last one wins."""
    each: list[Benchmark] = [one["extra_info"] for found in files for one in found["benchmarks"]]
    runs = list({(run["table"], run["row"], run["network"]): run for run in each}.values())
    of = {name: [run for run in runs if run["table"] == name] for name in (*SECTIONS, "peak", "precision")}
    lines = [*about(files[0], runs[0]), "", *conclusion(of)]
    for name, title in SECTIONS.items():
        lines += ["", f"### {title}", "", *table(of[name])]
    lines += ["", "### Share of the peak", "", *PEAK.splitlines(), "", *peak(of["peak"]), *halves(of["precision"])]
    lines += limits(of)
    return "\n".join(lines) + "\n"


def about(found: dict[str, Any], run: Benchmark) -> list[str]:
    """Return the heading of a device, and the line with date, versions and clock."""
    machine, cpu = found["machine_info"], run["device"] == "cpu"
    where = machine["cpu"].get("brand_raw") or machine["processor"] if cpu else run["device"]
    clock = "process time of one thread" if cpu else "time between synchronisations"
    facts = [
        found["datetime"][:10],
        f"PyTorch {run['torch']}",
        f"Python {machine['python_version']}",
        machine["system"],
    ]
    return [f"## {where}", "", f"{', '.join(facts)}; {clock}; fp32 unless said."]


def conclusion(of: dict[str, list[Benchmark]]) -> list[str]:
    """Return the sentence with the range of the steps' ratios and the number of bars that are missed, if any is set."""
    ratios = [median(found) for run in of["steps"] for found in run["ratios"].values()]
    told = [f"A step takes {min(ratios):.2f} to {max(ratios):.2f} times the other code's time."] if ratios else []
    compared = [run for name in SECTIONS for run in of[name] if run.get("limit") or any(run["bars"].values())]
    if compared:
        told += [f"{sum(map(misses, compared))} of {len(compared)} comparisons with a bar miss it."]
    return [" ".join(told)] if told else []


def table(runs: list[Benchmark]) -> list[str]:
    """Return a table with a line for each comparison."""
    head = ["what", "network", "against", "passes", "operations", "held", "ratio", "least - greatest", "bar", "met"]
    memory = any("peak" in run for run in runs)
    lines = rows([*head, *(["peak memory"] if memory else [])], rule=True)
    for run in runs:
        what = [run["row"], run["network"]]
        for i, (name, ratios) in enumerate(run["ratios"].items(), 1):
            counts = costs(run["cost"][0], run["cost"][i]) if "cost" in run else ["", "", ""]
            line = [*what, name, *counts, f"{median(ratios):.2f}", f"{min(ratios):.2f} - {max(ratios):.2f}"]
            line += judged(run["bars"].get(name), median(ratios))
            lines += rows([*line, *([f"{run['peak'][0] / run['peak'][i]:.2f}"] if memory else [])])
        if limit := run.get("limit"):
            seconds = median(run["seconds"])
            lines += rows([*what, "", "", "", "", f"{seconds:.3g} s", "", f"{limit:g} s", met(seconds <= limit)])
    return lines


def costs(ours: dict[str, float], theirs: dict[str, float]) -> list[str]:
    """Return the cells with passes and operations of both codes, and the ratio ours / theirs of the held bytes."""
    passes = f"{ours['passes']:.3g} / {theirs['passes']:.3g}"
    return [passes, f"{ours['operations']} / {theirs['operations']}", f"{ours['held'] / theirs['held']:.2f}"]


def judged(bar: float | None, found: float) -> list[str]:
    """Return the cell with the bar, and the cell that tells whether the ratio meets it; both empty without a bar."""
    return ["", ""] if bar is None else [f"{bar:.2f}", met(round(found, 2) <= bar)]


def met(holds: bool) -> str:
    """Return the word of the column `met`."""
    return "yes" if holds else "**no**"


def rows(cells: list[str], rule: bool = False) -> list[str]:
    """Return a line of a Markdown table; with `rule`, also the rule below a head."""
    return ["| " + " | ".join(cells) + " |", *(["|" + "---|" * len(cells)] if rule else [])]


def peak(runs: list[Benchmark]) -> list[str]:
    """Return a table of the speed of the fastest matrix product, and the share of it that a step achieves."""
    lines = rows(["step", "network", "peak, GFLOP/s", "share"], rule=True)
    for run in runs:
        products = [
            median(flops * ratio / seconds for seconds, ratio in zip(run["seconds"], run["ratios"][name], strict=True))
            for name, flops in run["each"].items()
        ]
        share = run["flops"] / median(run["seconds"]) / max(products)
        lines += rows([run["row"], run["network"], f"{max(products) / 1e9:.0f}", f"{share:.0%}"])
    return lines


def halves(runs: list[Benchmark]) -> list[str]:
    """Return the part about half precision: robust accuracies, differing flags, and distances of a step."""
    if not runs:
        return []
    head = ["trained by", "attack", "fp32", "bf16", "flags differ", "by chance", "step, bf16", "step, bf16_attack"]
    lines = ["", "### bfloat16", "", *HALF.splitlines(), "", *rows(head, rule=True)]
    for run in runs:
        for attack, found in run["flags"].items():
            shares = [f"{100 * found[f'robust_{p}']:.1f} %" for p in ("fp32", "bf16")]
            shares += [f"{100 * found[name]:.1f} %" for name in ("flags_differ", "flags_differ_by_chance")]
            lines += rows([run["row"], attack, *shares, *(f"{run['apart'][p]:.2f}" for p in ("bf16", "bf16_attack"))])
    return lines


def limits(of: dict[str, list[Benchmark]]) -> list[str]:
    """Return the part that explains why bars are not met, or nothing if all are."""
    own = next((run["own"] for run in of["attacks"] if "own" in run), 0.0)
    lines = []
    for name, words in LIMITS.items():
        if missed := [run for run in of[name] if misses(run)]:
            which = "; ".join(f"{run['row']} ({run['network']})".removesuffix(" ()") for run in missed)
            lines += [f"- {which}.", *(f"  {line}" for line in words.format(own=own).splitlines())]
    return ["", "### Where a bar is not met", "", *lines] if lines else []


def misses(run: Benchmark) -> bool:
    """Return whether a ratio of the benchmark is above its bar, or its time above its limit."""
    above = [bar is not None and round(median(run["ratios"][name]), 2) > bar for name, bar in run["bars"].items()]
    return any(above) or bool(run.get("limit") and median(run["seconds"]) > run["limit"])


def main() -> None:
    """Rewrite docs/performance.md."""
    PAGE.write_text(page([Path(name) for name in sys.argv[1:]]), encoding="utf-8")


if __name__ == "__main__":
    main()
