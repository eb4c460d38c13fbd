"""The table, as Markdown for git."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cure.core.names import NAMES, RELEASED_LAST
from cure.reporting.costs import Costs
from cure.reporting.markdown import last
from cure.reporting.markdown import table as ruled
from cure.reporting.results import Results, every_row, setting
from cure.settings.sections import AttackSuite, Grid, ReportText

EARLIER = "‡"
"""Marks the epoch of a row whose release evaluates the last one."""


def columns(suite: AttackSuite) -> list[str]:
    """The measures of a row, in the order of the table."""
    return ["clean", *suite.table, f"nrr_{suite.nrr}", "corrupted"]


@dataclass(frozen=True)
class Number:
    """One measure of one row in percent: mean over seeds, with their spread or one network's 95 % interval."""

    value: float
    spread: float | None  # sample standard deviation, of several seeds
    interval: tuple[float, float] | None  # over images, of one seed
    mark: str  # `best`, `level` with it, or nothing

    @property
    def plain(self) -> str:
        """86.76 or 86.76 ± 0.12."""
        return f"{self.value:.2f}" + ("" if self.spread is None else f" ± {self.spread:.2f}")

    @property
    def text(self) -> str:
        """The same as Markdown: bold where the best, with † where level with it."""
        return {"best": f"**{self.plain}**", "level": f"{self.plain}†"}.get(self.mark, self.plain)

    @property
    def ends(self) -> tuple[float, float] | None:
        """How far the number can be trusted, in percent: its interval, or one deviation to either side."""
        if self.spread is None:
            return self.interval
        return max(0.0, self.value - self.spread), min(100.0, self.value + self.spread)


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    setting: str
    method: str
    numbers: list[Number | None]
    words: list[str]  # where params ask for it, the last epoch's accuracy and its difference; the epoch


def rows(
    lines: pd.DataFrame,
    means: pd.DataFrame,
    attacked: pd.DataFrame,
    marks: dict[tuple[str, str, str], str],
    epochs: dict[tuple[str, str], str],
    suite: AttackSuite,
) -> list[Row]:
    """The rows in the order of `means`; intervals from the lines of attacks.csv, epochs by setting and method."""
    deviations = lines.groupby(["setting", "method"]).std(numeric_only=True)
    several, own = lines["seed"].nunique() > 1, dict(list(lines.groupby(["setting", "method"])))
    spans = {}
    for one in attacked.to_dict("records"):
        spans[one["setting"], one["method"], one["column"]] = one["low"], one["high"]
        spans[one["setting"], one["method"], f"nrr_{one['column']}"] = one["nrr_low"], one["nrr_high"]

    def number(line: dict[Any, Any], column: str) -> Number:
        key = line["setting"], line["method"]
        interval = None if several else spans.get((*key, column))
        deviation = float(deviations.loc[key, column]) if several else None
        return Number(line[column], deviation, interval, marks.get((*key, column), ""))

    return [
        Row(
            line["setting"],
            NAMES.get(line["method"], line["method"]),
            [number(line, column) for column in columns(suite)],
            [
                *(_last(own[line["setting"], line["method"]], name) for name in suite.last[:1]),
                _epoch(line["method"], f"{line['epoch']:.0f}", epochs[line["setting"], line["method"]]),
            ],
        )
        for line in means.to_dict("records")
    ]


def _epoch(method: str, evaluated: str, trained: str) -> str:
    """22/25, with a mark where it is an earlier one than the method's release evaluates."""
    return f"{evaluated}/{trained}" + (EARLIER if method in RELEASED_LAST and evaluated != trained else "")


def to_do(results: Results, costs: Costs) -> dict[tuple[str, str], str]:
    """Return setting and method of every row that was not run -> what is said of it: that, and what it would cost."""
    return {
        (setting(row), row.method): costs.told(setting(row), row.method, len(results.grid.seeds))
        for row in every_row(results.grid)
        if row not in results.rows
    }


def with_rows_to_do(body: list[Row], grid: Grid, suite: AttackSuite, todo: dict[tuple[str, str], str]) -> list[Row]:
    """Return every row of the grid: those of `body`, and the others with empty cells and what is said of them."""
    found = {(row.setting, row.method): row for row in body}
    empty: list[Number | None] = [None] * len(columns(suite))
    last = [""] * len(suite.last[:1])
    return [
        found.get((setting(row), name)) or Row(setting(row), name, empty, [*last, todo[setting(row), row.method]])
        for row in every_row(grid)
        for name in [NAMES.get(row.method, row.method)]
    ]


def _last(own: pd.DataFrame, column: str) -> str:
    """62.15 (-1.12): of the last epoch, and its difference from the evaluated network."""
    accuracy, difference = last(own, column)
    return accuracy if accuracy == difference else f"{accuracy} ({difference})"


def head(suite: AttackSuite, titled: Callable[[str], str]) -> list[str]:
    """The table's headings; a column that saw fewer images says how many."""
    mark = {name: f" ({count})" for name, count in suite.subset.items()}
    named = [titled(name) + mark.get(name, "") for name in columns(suite)]
    return ["Data / model", "Method", *named, *(f"{titled(name)}, last" for name in suite.last[:1]), "Epoch"]


def markdown(body: list[Row], text: ReportText, head: list[str], about: list[str]) -> str:
    """table.md: title, note, table, and what was measured on what."""
    cells = [[row.setting, row.method, *(one.text if one else "" for one in row.numbers), *row.words] for row in body]
    lines = ruled(head, cells, left=(0, 1))
    return "\n".join([f"# {text.title}", "", text.note, "", *lines, "", *(f"- {fact}" for fact in about)]) + "\n"
