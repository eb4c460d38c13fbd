"""Set our rows beside published ones: a table for each published table, with a line of its own for each source."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from cure.core.names import NAMES, heading
from cure.published import attacks
from cure.published.claims import Claim, Published
from cure.reporting import markdown, results

Made = dict[tuple[str, str], str]
Rows = dict[Any, pd.DataFrame]
"""Method -> its lines of one setting, a line per seed."""
OTHER = "§"
"""Marks a number that was measured under another attack than ours."""


@dataclass(frozen=True)
class Ours:
    """Our settings, a sentence about our attacks (`how`), and the text of each row that was not run (`todo`)."""

    settings: list[str]
    how: str
    todo: Made
    columns: dict[str, dict[str, Any]]  # our attack columns, with eps and step of the threat model


def page(lines: pd.DataFrame, published: Published, made: Made, ours: Ours) -> str:
    """Return claims.md: the published tables of each of our settings, then those of other settings.

    Other settings are left out if no published table is about a setting of ours. Within a setting, tables of papers
    precede reproductions. `made` maps (setting, method) to a text about the training of our row.
    """
    seeds = lines["seed"].nunique() if len(lines) else 0
    text = [
        "# Ours beside the papers'",
        "",
        "Lines marked **ours** were measured by this pipeline; the others are printed in the papers (claims.yaml),",
        "which name their own attacks. Those under *reproduced* were measured by people other than a method's authors.",
        f"{OTHER}: measured under another attack than ours, or under one that is not known in full.",
        f"Ours: {ours.how[:1].lower()}{ours.how[1:]}",
        *([f"Ours: mean ± sample standard deviation of {seeds} seeds."] if seeds > 1 else []),
    ]
    everything = [*published.claims, *published.reproductions]
    printed = list(dict.fromkeys(map(results.setting, everything)))
    others = printed if set(printed) & set(ours.settings) else []
    for setting in dict.fromkeys([*ours.settings, *others]):
        rows = dict(list(lines[lines["setting"] == setting].groupby("method"))) if len(lines) else {}
        about = [claim for claim in everything if results.setting(claim) == setting]
        text += ["", f"## {setting}"]
        text += [] if about else ["", f"No paper prints a number for {setting}."]
        text += [] if setting in ours.settings else ["", "Not in the grid of params.yaml."]
        for (kind, paper, table), group in groupby(about, key=lambda claim: (claim.kind, claim.paper, claim.table)):
            title = f"{paper}, {table}" + (" (reproduced)" if kind == "reproduction" else "")
            text += _table(title, list(group), rows, made, ours)
    text += _unverified(published) if others else []
    return "\n".join(text) + "\n"


def _unverified(published: Published) -> list[str]:
    said = [f"- {NAMES.get(method, method)}: {why}" for method, why in published.unverified.items()]
    return ["", "## Papers whose own tables could not be verified", "", *said]


def _table(title: str, claims: list[Claim], rows: Rows, made: Made, ours: Ours) -> list[str]:
    """Return a published table with its own columns; our row, if there is one, follows each of its rows."""
    measures = list(dict.fromkeys(measure for claim in claims for measure in claim.values))
    head, body = ["Method", "Source", *map(heading, measures), "Note"], []
    notes, others = list[str](), dict[str, list[tuple[str, str]]]()
    for claim in claims:
        notes += [f"{len(notes) + 1}. {claim.method}: {claim.caveat}"] if claim.caveat else []
        mark = f"see {len(notes)}" if claim.caveat else ""
        name = NAMES.get(claim.method, claim.method)
        against = {measure: _against(claim, measure, ours) for measure in measures}
        for measure, (_, differences) in against.items():
            if measure in claim.values and differences:
                others.setdefault("; ".join(differences), []).append((heading(measure), name))
        cells = [_printed(claim, measure) + _mark(claim, measure, against[measure][1]) for measure in measures]
        body.append([name, title, *cells, mark])
        if claim.method in rows:
            own = rows[claim.method]
            numbers = [_ours(own, measure, against[measure][0]) for measure in measures]
            body.append([name, "**ours**", *numbers, made[str(own["setting"].iloc[0]), claim.method]])
        elif todo := ours.todo.get((results.setting(claim), claim.method)):
            body.append([name, "**ours**", *("" for _ in measures), todo])
    about = [f"{text}." for text in dict.fromkeys(claim.source for claim in claims) if text]
    about += list(dict.fromkeys(claim.setting for claim in claims))
    ruled = markdown.table(head, body, left=(0, 1, len(head) - 1))
    told = [_told(reason, where, len(claims)) for reason, where in others.items()]
    return [
        "",
        f"### {title}",
        "",
        *about,
        "",
        *ruled,
        *(["", *told] if told else []),
        *(["", *notes] if notes else []),
    ]


def _against(claim: Claim, measure: str, ours: Ours) -> tuple[str | None, list[str]]:
    """Return our attack column behind a measure, and how its attack differs from the published one."""
    attacked = attacks.attacked(measure)
    if attacked is None:
        return None, []
    return attacks.ours(attacked, claim.attack(measure), ours.columns)


def _mark(claim: Claim, measure: str, differences: list[str]) -> str:
    return OTHER if measure in claim.values and differences else ""


def _told(reason: str, where: list[tuple[str, str]], count: int) -> str:
    """Return the line below a table that names the columns and rows under another attack, and the difference."""
    measures, rows = (list(dict.fromkeys(part)) for part in zip(*where, strict=True))
    whose = f" of {', '.join(rows)}" if len(rows) < count else ""
    return f"- {OTHER} {', '.join(measures)}{whose}: {reason}."


def _ours(own: pd.DataFrame, measure: str, column: str | None) -> str:
    """Return our number for a published measure. `ood` is the mean over corruptions, `sum` is clean + AutoAttack."""
    if column and measure == "sum":
        return markdown.spread(own["clean"] + own[column]) if column in own else ""
    if measure.startswith("nrr"):
        name = f"nrr_{column}"
    elif column:
        name = measure.replace(str(attacks.attacked(measure)), column)
    else:
        name = {"ood": "corrupted"}.get(measure, measure)
    name = name.removesuffix("_best")
    return markdown.spread(own[name]) if name in own else ""


def _printed(claim: Claim, measure: str) -> str:
    spread = f" ± {claim.deviations[measure]:.2f}" if measure in claim.deviations else ""
    return _number(claim.values.get(measure)) + spread


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else ""
