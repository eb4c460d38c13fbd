"""Test the papers' conclusions from their figures on our data: reports/findings.md and findings.csv."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from cure import catalogue
from cure.core.figure import Figure
from cure.core.finding import Claim, Ratio
from cure.core.names import NAMES
from cure.evaluation.statistics.paired_outcomes import paired_outcomes
from cure.evaluation.statistics.paired_tests import LEVEL
from cure.evaluation.statistics.ratios import ratio_of_networks, ratios
from cure.evaluation.statistics.two_level import accuracies, of_counts, of_the_same_runs
from cure.reporting import evidence, markdown
from cure.reporting.results import Results
from cure.settings.sections import AttackSuite

COLUMNS = ["figure", "setting", "source", "said", "ours", "agrees"]
ANSWERS = ("yes", "no", "not told apart", "not measured")


UNIT_METHODS = (
    "The tests compare methods, as the papers' conclusions do. They hold for other images and other training runs, by "
    "the two-level model of pairs.md, from {} seeds of each method. Lines with `no interval` are about these networks."
)
UNIT_NETWORKS = (
    "The papers' conclusions are about methods. With one seed, the tests compare these networks only: how another "
    "training run would come out is not known. `grid.seeds` with several seeds tests methods."
)


def table(names: list[str], results: Results, suite: AttackSuite) -> pd.DataFrame:
    """Return a line per finding of the named figures and setting; `agrees` is one of ANSWERS."""
    return pd.DataFrame([line for name in names for line in _lines(name, results, suite)], columns=COLUMNS)


def _lines(name: str, results: Results, suite: AttackSuite) -> Iterator[dict[str, str]]:
    figure: Figure = catalogue.entry("figures", name).FIGURE
    data = evidence.table(figure.data, results, suite) if figure.findings else pd.DataFrame()
    for finding in figure.findings:
        told = {"figure": name, "source": finding.source, "said": finding.said}
        if data.empty:
            yield told | {"setting": "", "ours": figure.without, "agrees": "not measured"}
            continue
        for setting, part in data.groupby("setting", sort=False):
            absent = [NAMES.get(row, row) for row in finding.rows if row not in set(part["method"])]
            if absent:
                ours, agrees = f"no row {', '.join(absent)}", "not measured"
            else:
                ours, verdict = finding.judge(part)
                agrees = answer(verdict)
            yield told | {"setting": str(setting), "ours": ours, "agrees": agrees}


def answer(verdict: bool | list[Claim] | None) -> str:
    """Return `yes` if every claim holds at 95 %, `no` if the opposite of one holds, else `not told apart`.

    `yes` requires all claims, so its p values are not adjusted. `no` requires one of several opposites, so its p values
    are multiplied by their number (Bonferroni).
    """
    if verdict is None:
        return "not told apart"
    if isinstance(verdict, bool):
        return "yes" if verdict else "no"
    tested = [_test(claim) for claim in verdict]
    if all(gap > 0 and p < LEVEL for gap, p in tested):
        return "yes"
    return "no" if any(gap < 0 and p * len(tested) < LEVEL for gap, p in tested) else "not told apart"


def _test(claim: Claim) -> tuple[float, float]:
    """Return the difference first - second, and its p value.

    With several seeds the two-level model (two_level.py) compares methods. Its variance over training runs is pooled
    over the two sides alone. With one seed two networks are paired by image. Without outcomes per image, Fisher's exact
    test compares counts. It treats each accuracy as one network's on its images, which is conservative for a mean.
    """
    first, second = claim.first, claim.second
    if isinstance(first, Ratio) and isinstance(second, Ratio):
        clean = {"first": first.clean, "second": second.clean}
        robust = {"first": first.robust, "second": second.robust}
        several = len(first.clean) > 1
        found = ratios(clean, robust).difference(*clean) if several else ratio_of_networks(clean, robust)
        return found.value, found.p()
    if isinstance(first, list) and isinstance(second, list):
        if len(first) == 1:
            paired = paired_outcomes(first[0], second[0])
            return paired.difference, paired.p()
        pair = {"first": first, "second": second}
        found = of_the_same_runs(first, second) if claim.same_runs else accuracies(pair).difference(*pair)
        return found.value, found.p()
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    if len(first[0]) > 1:
        one, other = (np.array(side) / 100 for side, _ in (first, second))
        found = of_counts(one, other, first[1], claim.same_runs)
        return found.value, found.p()
    counts = np.array([[round(share * n / 100), n - round(share * n / 100)] for (share,), n in (first, second)])
    return float(first[0][0]) - float(second[0][0]), float(fisher_exact(counts).pvalue)


def page(found: pd.DataFrame, seeds: int) -> str:
    """Return findings.md: a line per finding and setting, about methods if `seeds` > 1, else about networks."""
    counts = found["agrees"].value_counts()
    told = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in ANSWERS)
    about = (
        "Each line is computed from the table of its figure (reports/data), means over seeds. Accuracies and ratios "
        "on the same images are tested at 95 %, image by image where outcomes are kept, else by their counts. `yes` "
        "and `no` are claimed where the test supports them, else `not told apart`; a fall that the numbers do not show "
        "is a `no`. Where a line has `no interval`, its numbers are compared as they are, in their mean and in the "
        "network of every seed; where these disagree, the answer is `not told apart`."
    )
    unit = UNIT_METHODS.format(seeds) if seeds > 1 else UNIT_NETWORKS
    head = ["Source", "The paper says", "Setting", "Here", "Agrees"]
    body = found[["source", "said", "setting", "ours", "agrees"]].to_numpy().tolist()
    ruled = markdown.table(head, body, left=range(len(head)))
    title = "# The papers' findings, tested on our data"
    return "\n".join([title, "", f"- {about}", f"- {unit}", f"- {told}.", "", *ruled]) + "\n"
