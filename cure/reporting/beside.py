"""Our rows beside the published ones, table by table, line by line and never in one cell."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from cure.core.names import NAMES, heading
from cure.reporting import markdown, results
from cure.reporting.claims import Claim
from cure.settings.sections import AttackSuite

Made = dict[tuple[str, str], str]
Rows = dict[Any, pd.DataFrame]
"""The lines of one setting, a line per seed, by method."""


@dataclass(frozen=True)
class Ours:
    """Our settings, what our rows were attacked with, and what is said of those that were not run."""

    settings: list[str]
    how: str
    todo: Made


def page(lines: pd.DataFrame, claims: list[Claim], suite: AttackSuite, made: Made, ours: Ours) -> str:
    """claims.md: every published table about a setting of ours, and where papers have any of these, all others.

    `made` says how each of our rows was trained.
    """
    seeds = lines["seed"].nunique() if len(lines) else 0
    text = [
        "# Ours beside the papers'",
        "",
        "Lines marked **ours** were measured by this pipeline; the others are printed in the papers (claims.yaml),",
        "which name their own attacks.",
        f"Ours: {ours.how[:1].lower()}{ours.how[1:]}",
        *([f"Ours: mean ± sample standard deviation of {seeds} seeds."] if seeds > 1 else []),
    ]
    printed = list(dict.fromkeys(map(results.setting, claims)))
    others = printed if set(printed) & set(ours.settings) else []
    for setting in dict.fromkeys([*ours.settings, *others]):
        rows = dict(list(lines[lines["setting"] == setting].groupby("method"))) if len(lines) else {}
        about = [claim for claim in claims if results.setting(claim) == setting]
        text += ["", f"## {setting}"]
        text += [] if about else ["", f"No paper prints a number for {setting}."]
        text += [] if setting in ours.settings else ["", "Not in the grid of params.yaml."]
        for (paper, table), group in groupby(about, key=lambda claim: (claim.paper, claim.table)):
            text += _table(f"{paper}, {table}", list(group), rows, suite, made, ours)
    return "\n".join(text) + "\n"


def _table(title: str, claims: list[Claim], rows: Rows, suite: AttackSuite, made: Made, ours: Ours) -> list[str]:
    """One published table with its own columns, and beneath each of its rows ours, where we have it."""
    measures = list(dict.fromkeys(measure for claim in claims for measure in claim.values))
    head, body = ["Method", "Source", *map(heading, measures), "Note"], []
    notes: list[str] = []
    for claim in claims:
        notes += [f"{len(notes) + 1}. {claim.method}: {claim.caveat}"] if claim.caveat else []
        mark = f"see {len(notes)}" if claim.caveat else ""
        name = NAMES.get(claim.method, claim.method)
        body.append([name, title, *(_printed(claim, measure) for measure in measures), mark])
        if claim.method in rows:
            own = rows[claim.method]
            numbers = [_ours(own, measure, suite) for measure in measures]
            body.append([name, "**ours**", *numbers, made[str(own["setting"].iloc[0]), claim.method]])
        elif todo := ours.todo.get((results.setting(claim), claim.method)):
            body.append([name, "**ours**", *("" for _ in measures), todo])
    about = [f"{text}." for text in dict.fromkeys(claim.source for claim in claims) if text]
    about += list(dict.fromkeys(claim.setting for claim in claims))
    ruled = markdown.table(head, body, left=(0, 1, len(head) - 1))
    return ["", f"### {title}", "", *about, "", *ruled, *(["", *notes] if notes else [])]


def _ours(own: pd.DataFrame, measure: str, suite: AttackSuite) -> str:
    """Our number for a published measure; `ood` is the mean over corruptions, `sum` is clean + AutoAttack."""
    if measure == "sum":
        return markdown.spread(own["clean"] + own["aa"]) if "aa" in own else ""
    name = {"cw": "cw20", "nrr": f"nrr_{suite.nrr}", "ood": "corrupted"}.get(measure, measure.removesuffix("_best"))
    return markdown.spread(own[name]) if name in own else ""


def _printed(claim: Claim, measure: str) -> str:
    spread = f" ± {claim.deviations[measure]:.2f}" if measure in claim.deviations else ""
    return _number(claim.values.get(measure)) + spread


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else ""
