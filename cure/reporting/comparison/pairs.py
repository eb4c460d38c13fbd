"""Test every pair of methods (several seeds) or of networks (one seed) for a difference: pairs.csv."""

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.evaluation.statistics.paired_outcomes import paired_outcomes
from cure.evaluation.statistics.paired_tests import LEVEL, holm, paired_interval
from cure.evaluation.statistics.two_level import TwoLevel
from cure.reporting.comparison.samples import Sampled, Tested, by_method
from cure.reporting.results import setting

Line = dict[str, Any]
ALIKE = "not told apart"
_POINTS = ("first_accuracy", "second_accuracy", "difference", "low", "high")
_HEAD = ("setting", "column", "images", "seeds", "first", "second", *_POINTS, "p")


def compared(tested: Tested, columns: list[str], sampled: Sampled) -> pd.DataFrame:
    """Return a line per setting, column and pair, in the order of the runs; differences and intervals in points.

    With several seeds (`sampled` is not empty) the lines compare methods, and NRR is one of the columns. `detectable`
    is the difference in points that the test would find (Estimate.detectable) at the level of Holm's first step. With
    one seed the lines compare networks.
    """
    parts = []
    for where in dict.fromkeys(map(setting, tested)):
        own = {column: methods for (place, column), methods in sampled.items() if place == where}
        outcomes = {run: one for run, one in tested.items() if setting(run) == where}
        part = pd.DataFrame(_of_methods(own) if own else _of_networks(outcomes, columns))
        part = pd.DataFrame(columns=[*_HEAD[1:]]) if part.empty else part
        part.insert(0, "setting", where)
        part["adjusted"] = holm(part["p"].to_numpy(float))
        parts.append(part)
    found = pd.concat(parts, ignore_index=True)
    return found.assign(verdict=[_verdict(line) for line in found.to_dict("records")])


def _of_methods(columns: dict[str, TwoLevel]) -> Iterator[Line]:
    tests = sum(comb(len(methods.scores), 2) for methods in columns.values())
    for column, methods in columns.items():
        for first, second in combinations(methods.scores, 2):
            found = methods.difference(first, second)
            both = [methods.scores[name].mean for name in (first, second)]
            numbers = [100 * share for share in (*both, found.value, *found.interval())]
            values = (column, methods.images, methods.seeds, first, second, *numbers, found.p())
            more = {"degrees": found.degrees, "detectable": 100 * found.detectable(LEVEL / tests)}
            yield dict(zip(_HEAD[1:], values, strict=True)) | more


def _of_networks(tested: Tested, columns: list[str]) -> Iterator[Line]:
    outcomes = by_method(tested)
    for column in columns:
        for first, second in combinations(outcomes, 2):
            found = paired_outcomes(*(outcomes[method][0][column] for method in (first, second)))
            both = [right / found.images for right in found.right]
            numbers = [100 * share for share in (*both, found.difference, *paired_interval(found))]
            values = (column, found.images, 1, first, second, *numbers, found.p())
            yield dict(zip(_HEAD[1:], values, strict=True))


def _verdict(line: dict[Any, Any]) -> str:
    """Return `A beats B` for methods, `differs` for networks, or ALIKE if the adjusted p is LEVEL or more."""
    if line["adjusted"] >= LEVEL:
        return ALIKE
    if line["seeds"] == 1:
        return "differs"
    first, second = (NAMES.get(line[side], line[side]) for side in ("first", "second"))
    return f"{first} beats {second}" if line["difference"] > 0 else f"{second} beats {first}"


def rounded(found: pd.DataFrame) -> pd.DataFrame:
    """Round for pairs.csv: percent and points to two decimals, degrees of freedom to one, p to three digits."""
    decimals = dict.fromkeys((*_POINTS, "detectable"), 2) | {"degrees": 1}
    return found.round(decimals).assign(**{p: found[p].map("{:.3g}".format) for p in ("p", "adjusted")})


def seen_from(found: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the lines of a method, with the sides swapped where needed, so that it is always the first."""
    turned = found[found["second"] == method].rename(columns=_SWAP)
    turned = turned.assign(**{name: -turned[name] for name in ("difference", "low", "high")})
    return pd.concat([turned, found[found["first"] == method]])[[*found.columns]]


_SWAP = {"first": "second", "second": "first", "first_accuracy": "second_accuracy", "second_accuracy": "first_accuracy"}
_SWAP |= {"low": "high", "high": "low"}


def accuracies(found: pd.DataFrame) -> dict[str, float]:
    """Return method -> accuracy in percent, from the lines of one setting and column."""
    sides = [found[[side, f"{side}_accuracy"]].set_axis(["method", "accuracy"], axis=1) for side in ("first", "second")]
    known = pd.concat(sides).drop_duplicates("method")
    return dict(zip(known["method"], known["accuracy"], strict=True))


def alike(found: pd.DataFrame, method: str) -> list[str]:
    """Return the methods with no significant difference from this one, from the lines of one setting and column."""
    return seen_from(found, method).query("adjusted >= @LEVEL", local_dict={"LEVEL": LEVEL})["second"].tolist()


def marks(found: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """Return (setting, method, column) -> `best`, or `level` if it does not differ significantly from the best.

    Lines of one seed are ignored: single networks do not rank methods.
    """
    said: dict[tuple[str, str, str], str] = {}
    for (where, column), part in found[found["seeds"] > 1].groupby(["setting", "column"], sort=False):
        known = accuracies(part)
        top = max(known, key=lambda method: known[method])
        level = alike(part, top)
        for method, share in known.items():
            if share == known[top] or method in level:
                said[str(where), method, str(column)] = "best" if share == known[top] else "level"
    return said
