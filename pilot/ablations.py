"""Report the ablations: `python -m pilot.ablations` writes pilot/evidence/ablations/ablations.md.

Each variant of pilot/studies/ablations.yaml is compared with the method of which it changes a part; RiFT is compared
with the network that it starts from. Intervals cover other images and other training runs. The variance over seeds is
pooled over all variants. The conflict that AR-AT's stop-gradient prevents is measured in the networks without it.
"""

import contextlib
from pathlib import Path

import numpy as np

from cure import catalogue
from cure.core.names import NAMES, heading
from cure.errors import UserError
from cure.evaluation.statistics.contradictions import parse_attack
from cure.evaluation.statistics.paired_tests import LEVEL, holm
from cure.reporting import markdown
from cure.reporting.comparison.samples import Tested, sampled
from cure.reporting.evidence import analysed
from cure.reporting.findings import answer
from cure.reporting.results import Results
from cure.runtime.terminal import stage
from cure.settings.check import load
from cure.settings.params import read
from cure.settings.sections import Grid
from cure.storage.files import write_text
from cure.storage.paths import Run
from pilot.study import EVIDENCE, STUDIES

COLUMNS, RATIO = ["clean", "pgd20", "aa"], "cw20"
CONFLICT = "arat_no_stop_gradient"  # the variant whose networks are analysed
STARTS = {"rift": "at", "rift_on_trades": "trades"}
ABOUT = (
    "Written by `python -m pilot.ablations`. Percent of the test images (AA: of a subset; NRR: of clean accuracy and "
    "{ratio}), mean of {seeds} seeds; then the difference from the row's reference in points with its 95 % interval "
    "over other images and other training runs. \\*: not zero, by a test at 5 % after Holm over all {tests} "
    "differences of this table. Two seeds can show only large effects; what is not marked was not shown to be zero."
)


def reference(variant: str) -> str:
    """Return the method that a variant is compared with: its name up to the first underscore, or the start of RiFT."""
    return STARTS.get(variant, variant.partition("_")[0])


def outcomes(variants: list[str], place: Path) -> Tested:
    """Return the outcomes of every run, with the variant as its method; raise UserError if results are missing."""
    found: Tested = {}
    for variant in variants:
        paths = sorted((place / variant).glob("results/*/*/*-attack.json"))
        if not paths:
            raise UserError(f"{place / variant}: no results yet; `python -m pilot.study ARCHIVE ablations` makes them")
        for path in paths:
            run = Run.of_result(path)
            if run.method != "natural":
                own = run if run.method in STARTS.values() else run.of(variant)
                found[own] = parse_attack(path.read_bytes()).outcomes
    return found


def page(tested: Tested, variants: list[str]) -> str:
    """Return ablations.md: a row for each variant that is compared with another method, in the order of the study."""
    compared = [name for name in variants if reference(name) != name]
    columns = {column: methods for (_, column), methods in sampled(tested, COLUMNS, RATIO, STARTS).items()}
    found = {
        (name, column): methods.difference(name, reference(name))
        for name in compared
        for column, methods in columns.items()
    }
    adjusted = dict(zip(found, holm(np.array([one.p() for one in found.values()])), strict=True))
    body = []
    for name in compared:
        cells = []
        for column, methods in columns.items():
            one = found[name, column]
            low, high = (100 * end for end in one.interval())
            mark = r"\*" if adjusted[name, column] < LEVEL else ""
            mean = 100 * methods.scores[name].mean
            cells.append(f"{mean:.1f}, {100 * one.value:+.1f} [{low:+.1f}, {high:+.1f}]{mark}")
        body.append([" ".join(NAMES.get(word, word) for word in name.split("_")), NAMES[reference(name)], *cells])
    seeds = {methods.seeds for methods in columns.values()}
    about = ABOUT.format(ratio=heading(RATIO), seeds=max(seeds), tests=len(found))
    head = ["Variant", "Reference", *(heading(column) for column in columns)]
    return "\n".join(["# Ablations", "", about, "", *markdown.table(head, body, left=(0, 1))]) + "\n"


def conflict(folder: Path) -> str:
    """Return a paragraph on the finding of the figure `invariance` in the networks of a variant."""
    with contextlib.chdir(folder):
        data = analysed("invariance", Results(load(["grid"]).get("grid", Grid)))
    (finding,) = catalogue.entry("figures", "invariance").FIGURE.findings
    ours, verdict = finding.judge(data)
    return (
        f"{finding.source}: {finding.said} In the networks without stop-gradient: {ours}. Agrees: {answer(verdict)}.\n"
    )


def main() -> None:
    """Write pilot/evidence/ablations/ablations.md."""
    variants, place = [*read(STUDIES / "ablations.yaml")["variants"]], EVIDENCE / "ablations"
    table = page(outcomes(variants, place), variants)
    write_text(place / "ablations.md", f"{table}\n{conflict(place / CONFLICT)}")


if __name__ == "__main__":
    stage(main)
