"""Write pairs.md: wins, ties and losses among methods (several seeds) or networks (one seed)."""

from math import sqrt
from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.evaluation.statistics.paired_tests import LEVEL
from cure.evaluation.statistics.two_level import POWER, TwoLevel
from cure.reporting import markdown
from cure.reporting.comparison.pairs import accuracies, seen_from
from cure.reporting.comparison.samples import Sampled

METHODS = """# Who beats whom

The unit is the method: claims hold for other images of this kind and for other training runs. Difference: mean over
seeds of the first minus that of the second in points, with its 95 % interval. Interval and p are those of the two-level
model (cure/evaluation/statistics/two_level.py). There images and training runs are random, images are paired and seeds
are not, and the variance over seeds is pooled over all methods of a column. That takes all methods to be equally
steady; each column says how far they are not. A method and the one whose networks it fine-tunes (RiFT) are compared run
by run. NRR is linearised (delta method). Adjusted: Holm 1979 over all pairs and
columns of a data set and model. `beats` is said only where the adjusted p is below {level:g}.
In a matrix a row against a column is + (its mean is higher), - (lower) or = (not told apart).
"""
NETWORKS = """# Pairs of networks

Each line compares two networks, one training run of each method, and does not rank methods: how far another run of
the same method would differ is not known. `grid.seeds` with several seeds compares methods. Difference: accuracy of
the first network minus that of the second on the same test images in points, with a paired 95 % interval over images
(Agresti & Min 2005). p: exact McNemar test. Adjusted: Holm 1979 over all pairs and columns of a data set and model.
`differs` is said only where the adjusted p is below {level:g}.
In a matrix a row against a column is + (its network is more accurate), - (less) or = (not told apart). It compares
networks, not methods.
"""


def page(found: pd.DataFrame, sampled: Sampled, against: list[str], titles: dict[str, str]) -> str:
    """Return pairs.md: for each column a matrix of all methods, then the differences from some of them.

    Args:
        found: The lines of pairs.csv, before rounding.
        sampled: The methods of each column; empty with one seed.
        against: Methods to compare with; the best of the column is added.
        titles: The heading of each column.
    """
    lines = [(METHODS if sampled else NETWORKS).format(level=LEVEL).rstrip()]
    for where, part in found.groupby("setting", sort=False):
        lines += ["", f"## {where}", "", f"{len(part)} tests are adjusted together."]
        for column, here in part.groupby("column", sort=False):
            images, seeds = here[["images", "seeds"]].iloc[0]
            lines += ["", f"### {titles[str(column)]}: {images} images, {seeds} {'seeds' if seeds > 1 else 'seed'}"]
            if sampled:
                lines += ["", limits(sampled[str(where), str(column)], here)]
            lines += ["", *_matrix(here), "", *_against(here, against)]
    return "\n".join(lines) + "\n"


def limits(methods: TwoLevel, here: pd.DataFrame) -> str:
    """Return the deviation between training runs, and the smallest difference that the test finds reliably."""
    pooled = methods.trainings
    single = {name: 100 * sqrt(one.between) for name, one in methods.scores.items() if name not in pooled.left_out}
    told = f"Standard deviation between seeds: {100 * sqrt(pooled.between):.2f} points, pooled"
    told += f" ({pooled.degrees} degrees of freedom)"
    if single:
        ends = [end(single, key=lambda name: single[name]) for end in (min, max)]
        told += ", of single methods from " + " to ".join(f"{single[m]:.2f} ({NAMES.get(m, m)})" for m in ends)
    told += "."
    if pooled.left_out:
        names = ", ".join(NAMES.get(name, name) for name in pooled.left_out)
        told += f" Not in the pool, since nearly all outcomes are alike or another's runs are fine-tuned: {names}."
    smallest = f"about {here['detectable'].median():.1f} points"
    told += f" With this number of seeds and images, the test detects a true difference of {smallest}"
    told += f" at {100 * POWER:.0f} % power"
    return f"{told} (the median over pairs, at the level of Holm's first step); smaller ones may not be detected."


MATRIX = "Wins, ties, losses"
"""The heading that marks a matrix; html/page.py finds it by this text."""


def _matrix(here: pd.DataFrame) -> list[str]:
    """Return each method against all, the most accurate first: + higher, - lower, = no significant difference."""
    known, body = accuracies(here), []
    order = sorted(known, key=lambda method: -known[method])
    for method in order:
        signs = {one["second"]: _sign(one) for one in seen_from(here, method).to_dict("records")}
        counts = ", ".join(str(list(signs.values()).count(sign)) for sign in "+=-")
        body.append([NAMES.get(method, method), f"{known[method]:.2f}", counts, *(signs.get(o, "") for o in order)])
    who = "Network of" if here["seeds"].iloc[0] == 1 else "Method"
    return markdown.table([who, "Accuracy", MATRIX, *(NAMES.get(name, name) for name in order)], body, left=(0,))


def _sign(line: dict[Any, Any]) -> str:
    if line["adjusted"] >= LEVEL:
        return "="
    return "+" if line["difference"] > 0 else "-"


def _against(here: pd.DataFrame, against: list[str]) -> list[str]:
    known = accuracies(here)
    best = max(known, key=lambda method: known[method])
    highest, body = "best" if here["seeds"].iloc[0] > 1 else "highest", []
    for reference in dict.fromkeys([*against, best]):
        for line in seen_from(here, reference).to_dict("records"):
            gap, low, high = (0.0 - line[key] for key in ("difference", "high", "low"))
            numbers = [f"{gap:+.2f}", f"{low:+.2f} to {high:+.2f}"]
            numbers += [f"{line[p]:.2g}" for p in ("p", "adjusted")]
            names = [NAMES.get(name, name) for name in (line["second"], reference)]
            names[1] += f" ({highest})" if reference == best else ""
            body.append([*names, *numbers, line["verdict"]])
    ends = ["Method", "Against"] if highest == "best" else ["Network of", "Against the network of"]
    return markdown.table([*ends, "Difference", "95 %", "p", "Adjusted", "Verdict"], body, left=(0, 1, 6))
