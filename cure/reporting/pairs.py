"""pairs.md and pairs.csv: every two methods on the same images, column by column, and what can be claimed of them."""

from itertools import combinations
from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.evaluation.statistics.paired_tests import LEVEL, holm, paired_test
from cure.reporting import markdown
from cure.reporting.results import setting
from cure.storage.paths import Run

Line = dict[str, Any]
Tested = dict[Run, dict[str, str]]  # the outcomes of each run, by column
ABOUT = """
The same test images under both methods. Difference: accuracy of the first minus that of the second in points, with
a paired 95 % interval (Agresti & Min 2005). p: exact McNemar test; over several seeds the images stay the units,
an image scores in how many seeds it is correct, and the test flips the signs of the scores. Adjusted: Holm 1979 over
all pairs and columns of a data set and model. `beats` is said only where the adjusted p is below {level:g}. It holds
for the networks that were compared: how much another training run differs, only the spread over seeds tells.
"""


def compared(tested: Tested, columns: list[str]) -> pd.DataFrame:
    """One line per setting, column and pair, in the order of the runs; differences and intervals in points."""
    parts = []
    for where in dict.fromkeys(map(setting, tested)):
        outcomes = _by_method({run: one for run, one in tested.items() if setting(run) == where})
        lines = [_line(where, outcomes, *two, column) for column in columns for two in combinations(outcomes, 2)]
        part = pd.DataFrame(lines, columns=[*_HEAD])
        part["adjusted"] = holm(part["p"].to_numpy(float))
        parts.append(part)
    found = pd.concat(parts, ignore_index=True)
    return found.assign(verdict=[_verdict(line) for line in found.to_dict("records")])


_POINTS = ("first_accuracy", "second_accuracy", "difference", "low", "high")
_HEAD = ("setting", "column", "images", "seeds", "first", "second", *_POINTS, "p")


def _by_method(tested: Tested) -> dict[str, list[dict[str, str]]]:
    """method -> its outcomes by column, seed by seed."""
    found: dict[str, list[dict[str, str]]] = {}
    for run in sorted(tested, key=lambda run: run.seed):
        found.setdefault(run.method, []).append(tested[run])
    return found


def _line(where: str, outcomes: dict[str, list[dict[str, str]]], first: str, second: str, column: str) -> Line:
    found = paired_test(*([each[column] for each in outcomes[method]] for method in (first, second)))
    numbers = [100 * share for share in (*found.accuracies, found.difference, *found.interval())]
    values = (where, column, len(found.first), found.seeds, first, second, *numbers, found.p())
    return dict(zip(_HEAD, values, strict=True))


def _verdict(line: dict[Any, Any]) -> str:
    """`A beats B`, or nothing."""
    first, second = (NAMES.get(line[side], line[side]) for side in ("first", "second"))
    if line["adjusted"] >= LEVEL:
        return ""
    return f"{first} beats {second}" if line["difference"] > 0 else f"{second} beats {first}"


def rounded(found: pd.DataFrame) -> pd.DataFrame:
    """For pairs.csv: percent and points with two decimals, p with three digits."""
    return found.round(dict.fromkeys(_POINTS, 2)).assign(
        **{p: found[p].map("{:.3g}".format) for p in ("p", "adjusted")}
    )


def seen_from(found: pd.DataFrame, method: str) -> pd.DataFrame:
    """The lines of a method, turned round where it comes second, so that it is always the first."""
    turned = found[found["second"] == method].rename(columns=_SWAP)
    turned = turned.assign(**{name: -turned[name] for name in ("difference", "low", "high")})
    return pd.concat([turned, found[found["first"] == method]])[[*found.columns]]


_SWAP = {"first": "second", "second": "first", "first_accuracy": "second_accuracy", "second_accuracy": "first_accuracy"}
_SWAP |= {"low": "high", "high": "low"}


def accuracies(found: pd.DataFrame) -> dict[str, float]:
    """method -> accuracy in percent, of the lines of one setting and column."""
    sides = [found[[side, f"{side}_accuracy"]].set_axis(["method", "accuracy"], axis=1) for side in ("first", "second")]
    known = pd.concat(sides).drop_duplicates("method")
    return dict(zip(known["method"], known["accuracy"], strict=True))


def marks(found: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """(setting, method, column) -> `best`, or `level` where it cannot be told apart from the best."""
    said: dict[tuple[str, str, str], str] = {}
    for (where, column), part in found.groupby(["setting", "column"], sort=False):
        known = accuracies(part)
        top = max(known, key=lambda method: known[method])
        level = set(seen_from(part, top).query("adjusted >= @LEVEL", local_dict={"LEVEL": LEVEL})["second"])
        for method, share in known.items():
            if share == known[top] or method in level:
                said[str(where), method, str(column)] = "best" if share == known[top] else "level"
    return said


def page(found: pd.DataFrame, against: list[str], titles: dict[str, str]) -> str:
    """pairs.md: who beats whom, then every method against these rows and the best of each column, by its title."""
    lines = ["# Who beats whom", *ABOUT.format(level=LEVEL).splitlines()]
    for where, part in found.groupby("setting", sort=False):
        lines += ["", f"## {where}", "", f"{len(part)} tests are adjusted together."]
        for column, here in part.groupby("column", sort=False):
            images, seeds = here[["images", "seeds"]].iloc[0]
            lines += ["", f"### {titles[str(column)]}: {images} images, {seeds} {'seeds' if seeds > 1 else 'seed'}"]
            lines += ["", *_summary(here), "", *_against(here, against)]
    return "\n".join(lines) + "\n"


def _summary(here: pd.DataFrame) -> list[str]:
    body = []
    for method, share in accuracies(here).items():
        told = seen_from(here, method).query("adjusted < @LEVEL", local_dict={"LEVEL": LEVEL})
        beaten = [
            ", ".join(NAMES.get(name, name) for name in told[told["difference"] * sign > 0]["second"])
            for sign in (1, -1)
        ]
        body.append([NAMES.get(method, method), f"{share:.2f}", *beaten])
    return markdown.table(["Method", "Accuracy", "Beats", "Is beaten by"], body, left=(0, 2, 3))


def _against(here: pd.DataFrame, against: list[str]) -> list[str]:
    known = accuracies(here)
    best = max(known, key=lambda method: known[method])
    body = []
    for reference in dict.fromkeys([*against, best]):
        for line in seen_from(here, reference).to_dict("records"):
            gap, low, high = (0.0 - line[key] for key in ("difference", "high", "low"))
            numbers = [f"{gap:+.2f}", f"{low:+.2f} to {high:+.2f}"]
            numbers += [f"{line[p]:.2g}" for p in ("p", "adjusted")]
            names = [NAMES.get(name, name) for name in (line["second"], reference)]
            names[1] += " (best)" if reference == best else ""
            body.append([*names, *numbers, line["verdict"] or "not told apart"])
    head = ["Method", "Against", "Difference", "95 %", "p", "Adjusted", "Verdict"]
    return markdown.table(head, body, left=(0, 1, 6))
