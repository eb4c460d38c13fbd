"""Build the table of results, and write it as Markdown."""

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
"""Marks an evaluated epoch that is earlier than the last one, which the method's release evaluates."""


def columns(suite: AttackSuite) -> list[str]:
    """Return the measures of a row, in the order of the table."""
    return ["clean", *suite.table, f"nrr_{suite.nrr}", "corrupted"]


@dataclass(frozen=True)
class Number:
    """A measure in percent: the mean of several seeds with its spread, or one network's with its 95 % interval."""

    value: float
    spread: float | None  # sample standard deviation, of several seeds
    interval: tuple[float, float] | None  # over images, of one seed
    mark: str  # `best`, `level` (not told apart from the best), or empty

    @property
    def plain(self) -> str:
        """Return 86.76 or 86.76 ± 0.12."""
        return f"{self.value:.2f}" + ("" if self.spread is None else f" ± {self.spread:.2f}")

    @property
    def text(self) -> str:
        """Return `plain` as Markdown: bold for the best, with † for `level`."""
        return {"best": f"**{self.plain}**", "level": f"{self.plain}†"}.get(self.mark, self.plain)

    @property
    def ends(self) -> tuple[float, float] | None:
        """Return the range to draw, in percent: the interval, or one standard deviation to either side."""
        if self.spread is None:
            return self.interval
        return max(0.0, self.value - self.spread), min(100.0, self.value + self.spread)


@dataclass(frozen=True)
class Row:
    """A row of the table: setting, method, measures, and further cells as text. A measure that was not run is None."""

    setting: str
    method: str
    numbers: list[Number | None]
    words: list[str]  # the last epoch's accuracy and its difference, if `attack.last` names a column; the epoch


def rows(
    lines: pd.DataFrame,
    means: pd.DataFrame,
    attacked: pd.DataFrame,
    marks: dict[tuple[str, str, str], str],
    epochs: dict[tuple[str, str], str],
    suite: AttackSuite,
) -> list[Row]:
    """Return the rows, in the order of `means`.

    Args:
        lines: A line per run, as rows.measured returns them.
        means: A line per row, as rows.over_seeds returns them.
        attacked: The lines of attacks.csv, for the intervals.
        marks: (setting, method, column) -> `best` or `level`.
        epochs: (setting, method) -> the number of epochs of training.
        suite: The section `attack`, which names the columns.
    """
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
    """Return evaluated/trained epoch, such as 22/25, with EARLIER if the method's release evaluates the last epoch."""
    return f"{evaluated}/{trained}" + (EARLIER if method in RELEASED_LAST and evaluated != trained else "")


def to_do(results: Results, costs: Costs) -> dict[tuple[str, str], str]:
    """Return (setting, method) -> text for every row that was not run: `not run yet`, with its estimated cost."""
    return {
        (setting(row), row.method): costs.told(setting(row), row.method, len(results.grid.seeds))
        for row in every_row(results.grid)
        if row not in results.rows
    }


def with_rows_to_do(body: list[Row], grid: Grid, suite: AttackSuite, todo: dict[tuple[str, str], str]) -> list[Row]:
    """Return every row of the grid: those of `body`, and the others with empty cells and their text of `todo`."""
    found = {(row.setting, row.method): row for row in body}
    empty: list[Number | None] = [None] * len(columns(suite))
    last = [""] * len(suite.last[:1])
    return [
        found.get((setting(row), name)) or Row(setting(row), name, empty, [*last, todo[setting(row), row.method]])
        for row in every_row(grid)
        for name in [NAMES.get(row.method, row.method)]
    ]


def _last(own: pd.DataFrame, column: str) -> str:
    """Return the last epoch's accuracy and its difference last - evaluated: 62.15 (-1.12)."""
    accuracy, difference = last(own, column)
    return accuracy if accuracy == difference else f"{accuracy} ({difference})"


def head(suite: AttackSuite, titled: Callable[[str], str]) -> list[str]:
    """Return the headings of the table; a column on fewer images includes their number."""
    mark = {name: f" ({count})" for name, count in suite.subset.items()}
    named = [titled(name) + mark.get(name, "") for name in columns(suite)]
    return ["Data / model", "Method", *named, *(f"{titled(name)}, last" for name in suite.last[:1]), "Epoch"]


def markdown(body: list[Row], text: ReportText, head: list[str], about: list[str]) -> str:
    """Return table.md: title, note, table, and the facts of `about`."""
    cells = [[row.setting, row.method, *(one.text if one else "" for one in row.numbers), *row.words] for row in body]
    lines = ruled(head, cells, left=(0, 1))
    return "\n".join([f"# {text.title}", "", text.note, "", *lines, "", *(f"- {fact}" for fact in about)]) + "\n"
