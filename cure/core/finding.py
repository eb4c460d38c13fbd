"""What a paper says of one of its figures, to be held against our own numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

Side = list[str] | tuple[list[float], int]
"""Per-image outcomes seed by seed (1 correct, 0 not), or where none were kept (accuracies in percent, images)."""


@dataclass(frozen=True)
class Claim:
    """The first is more accurate than the second on the same images; both sides are of one kind, seed by seed.

    `same_runs`: both sides are networks of the same training runs, such as the best and the last of each.
    """

    first: Side
    second: Side
    same_runs: bool = False


Verdict = tuple[str, bool | list[Claim]]
"""Our numbers as a phrase, and whether they agree with the paper's words: claims about accuracies, all of which must
hold, are tested by reporting/findings.py."""


@dataclass(frozen=True)
class Finding:
    """`judge` gets the figure's table of one data set and model, all seeds, once it has every method of `rows`."""

    source: str  # paper and figure
    said: str  # one sentence, in our words
    rows: tuple[str, ...]
    judge: Callable[[pd.DataFrame], Verdict]


def outcomes(data: pd.DataFrame, method: str, column: str) -> list[str]:
    """The per-image outcomes of a method, a text for each seed."""
    own = data[data["method"] == method].sort_values("seed")
    return own[column].tolist()


def accuracies(data: pd.DataFrame, method: str, column: str) -> list[float]:
    """The accuracy of a method in each seed, a mean over its lines."""
    own = data[data["method"] == method].groupby("seed")[column].mean()
    return own.tolist()


def untested(told: str, holds: bool, data: pd.DataFrame) -> Verdict:
    """A comparison of numbers that no interval belongs to, which the phrase then says."""
    seeds = data["seed"].nunique()
    return f"{told}; {'one network' if seeds == 1 else f'mean of {seeds} networks'}, no interval", holds
