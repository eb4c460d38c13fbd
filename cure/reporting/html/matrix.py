"""Build the matrices of wins, ties and losses among methods (several seeds) or networks (one seed)."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.evaluation.statistics.paired_tests import LEVEL
from cure.reporting.comparison.pairs import accuracies, seen_from

SIGNS = {"win": "+", "loss": "\N{MINUS SIGN}", "even": "="}


@dataclass(frozen=True)
class Cell:
    """A method against another: `kind` is win, loss, even, or self; `said` is the text of the tooltip."""

    kind: str
    sign: str
    said: str


@dataclass(frozen=True)
class Line:
    """A method against all methods: its accuracy in percent, its cells, and its numbers of wins and losses."""

    method: str
    value: float
    cells: list[Cell]
    wins: int
    losses: int


@dataclass(frozen=True)
class Matrix:
    """All pairs of one setting and column; methods from the highest accuracy to the lowest."""

    title: str
    setting: str
    images: int
    lines: list[Line]


def matrices(found: pd.DataFrame, titles: dict[str, str]) -> list[Matrix]:
    """Return one matrix for each setting and column of pairs.csv."""
    made = []
    for (where, column), here in found.groupby(["setting", "column"], sort=False):
        known = accuracies(here)
        order = sorted(known, key=lambda method: -known[method])
        lines = [_line(here, method, order, known[method]) for method in order]
        made.append(Matrix(titles[str(column)], str(where), int(here["images"].iloc[0]), lines))
    return made


def _line(here: pd.DataFrame, method: str, order: list[str], value: float) -> Line:
    pairs = {line["second"]: line for line in seen_from(here, method).to_dict("records")}
    cells = [_cell(method, other, pairs.get(other)) for other in order]
    wins, losses = (sum(cell.kind == kind for cell in cells) for kind in ("win", "loss"))
    return Line(NAMES.get(method, method), value, cells, wins, losses)


def _cell(method: str, other: str, line: dict[Any, Any] | None) -> Cell:
    if line is None:
        return Cell("self", "", "")
    kind = "even" if line["adjusted"] >= LEVEL else "win" if line["difference"] > 0 else "loss"
    names = " against ".join(NAMES.get(name, name) for name in (method, other))
    said = f"{names}: {line['difference']:+.2f} points, 95 % {line['low']:+.2f} to {line['high']:+.2f}"
    return Cell(kind, SIGNS[kind], f"{said}, adjusted p {line['adjusted']:.2g}")
