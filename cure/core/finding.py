"""The contract of a finding: a paper's conclusion from one of its figures, which our numbers are tested against."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import pandas as pd


@dataclass(frozen=True)
class Ratio:
    """The natural-robustness ratio 2 n r / (n + r) of a method, by the per-image outcomes of each seed."""

    clean: list[str]
    robust: list[str]


Side = list[str] | tuple[list[float], int] | Ratio
"""One text of per-image outcomes (1 correct, 0 not) for each seed; where none were kept, (accuracies in percent,
images)."""


@dataclass(frozen=True)
class Claim:
    """The claim that one network has a higher accuracy or ratio than another on the same images, seed by seed."""

    first: Side  # of the network that is claimed to be better
    second: Side  # of the other network: the same kind, the same seeds
    same_runs: bool = False  # both are networks of the same training runs, such as best and last epoch


Verdict = tuple[str, bool | list[Claim] | None]
"""Our numbers as a phrase, and whether they agree with the paper; None if networks differ. A list of claims about
accuracies is tested by reporting/findings.py, and all of them must hold."""


@dataclass(frozen=True)
class Finding:
    """A conclusion that a paper draws from a figure, and the function that compares our table with it."""

    source: str  # paper and figure
    said: str  # the conclusion, in one sentence of our own
    rows: tuple[str, ...]  # methods that the table must have
    judge: Callable[[pd.DataFrame], Verdict]  # takes the figure's table of one data set and model, all seeds


def outcomes(data: pd.DataFrame, method: str, column: str) -> list[str]:
    """Return the per-image outcomes of a method, one text for each seed."""
    own = data[data["method"] == method].sort_values("seed")
    return own[column].tolist()


def accuracies(data: pd.DataFrame, method: str, column: str) -> list[float]:
    """Return the accuracy of a method for each seed, averaged over its lines of the table."""
    own = data[data["method"] == method].groupby("seed")[column].mean()
    return own.tolist()


def untested(judge: Callable[[pd.DataFrame], tuple[str, bool]]) -> Callable[[pd.DataFrame], Verdict]:
    """Make a verdict of numbers that have no interval: the mean and the network of every seed must say the same."""

    @wraps(judge)
    def judged(data: pd.DataFrame) -> Verdict:
        told, holds = judge(data)
        each = [judge(part)[1] for _, part in data.groupby("seed")]
        if len(each) == 1:
            return f"{told}; one network, no interval", holds
        said = f"{told}; so in {sum(each)} of {len(each)} networks, no interval"
        return said, holds if all(one == holds for one in each) else None

    return judged
