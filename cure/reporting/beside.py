"""Our rows beside the published ones, line by line and never in one cell."""

import pandas as pd

from cure.core.names import NAMES
from cure.reporting.claims import Claim, beside
from cure.reporting.table import heading
from cure.schema import AttackSuite

MEASURES = ["clean", "pgd20", "aa", "cw", "nrr"]
"""Of the published measures, those of the target table; claims.yaml holds the others too."""


def page(means: pd.DataFrame, claims: list[Claim], suite: AttackSuite, made: dict[tuple[str, str], str]) -> str:
    """claims.md: every row of ours and the published lines about it; `made` says how each of ours was trained."""
    ours = {"cw": "cw20", "nrr": f"nrr_{suite.nrr}"}
    lines = [
        "# Ours beside the papers'",
        "",
        "Lines marked **ours** were measured by this pipeline; the others are printed in the papers (claims.yaml).",
    ]
    for setting in means["setting"].unique():
        body, notes = _table(means[means["setting"] == setting], claims, ours, made)
        lines += ["", f"## {setting}", ""]
        lines += [*body, "", *notes] if body else [f"No paper prints a number for {setting}."]
    return "\n".join(lines) + "\n"


def _table(
    part: pd.DataFrame, claims: list[Claim], ours: dict[str, str], made: dict[tuple[str, str], str]
) -> tuple[list[str], list[str]]:
    head = ["Method", "Source", *map(heading, MEASURES), "Note"]
    body, notes = [_row(head), _row(["---", "---", *["---:"] * len(MEASURES), "---"])], list[str]()
    found = False
    for line in part.to_dict("records"):
        dataset, _, model = str(line["setting"]).partition("/")
        method = str(line["method"])
        numbers = [_number(line.get(ours.get(measure, measure))) for measure in MEASURES]
        body.append(_row([NAMES.get(method, method), "**ours**", *numbers, made[str(line["setting"]), method]]))
        for claim in beside(claims, dataset, model, method):
            if not set(claim.values) & set(MEASURES):
                continue
            found = True
            mark = ""
            if claim.caveat:
                notes.append(f"{len(notes) + 1}. {claim.paper} {claim.table}, {method}: {claim.caveat}")
                mark = f"see {len(notes)}"
            printed = [_number(claim.values.get(measure)) for measure in MEASURES]
            body.append(_row([NAMES.get(method, method), f"{claim.paper}, {claim.table}", *printed, mark]))
    return (body, notes) if found else ([], [])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else ""
