"""What the papers conclude from their figures, beside what our data say: reports/findings.md and findings.csv."""

from collections.abc import Iterator

import pandas as pd

from cure import catalogue
from cure.core.figure import Figure
from cure.core.names import NAMES
from cure.reporting import evidence, markdown
from cure.schema import Grid

COLUMNS = ["figure", "setting", "source", "said", "ours", "agrees"]


def table(names: list[str], grid: Grid) -> pd.DataFrame:
    """One line per finding of the named figures and setting; `agrees` is yes, no, or `not measured`."""
    return pd.DataFrame([line for name in names for line in _lines(name, grid)], columns=COLUMNS)


def _lines(name: str, grid: Grid) -> Iterator[dict[str, str]]:
    figure: Figure = catalogue.entry("figures", name).FIGURE
    data = evidence.table(figure.data, grid) if figure.findings else pd.DataFrame()
    for finding in figure.findings:
        told = {"figure": name, "source": finding.source, "said": finding.said}
        if data.empty:
            yield told | {"setting": "", "ours": figure.without, "agrees": "not measured"}
            continue
        for setting, part in data.groupby("setting", sort=False):
            absent = [NAMES.get(row, row) for row in finding.rows if row not in set(part["method"])]
            if absent:
                ours, agrees = f"no row {', '.join(absent)}", "not measured"
            else:
                ours, holds = finding.judge(part)
                agrees = "yes" if holds else "no"
            yield told | {"setting": str(setting), "ours": ours, "agrees": agrees}


def page(found: pd.DataFrame) -> str:
    """findings.md: a line for each finding and setting."""
    counts = found["agrees"].value_counts()
    told = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in ("yes", "no", "not measured"))
    about = (
        "Each line is computed from the table of its figure (reports/data), means over seeds. `yes` and `no` compare "
        "numbers of this report and are no test of significance."
    )
    head = ["Source", "The paper says", "Setting", "Here", "Agrees"]
    body = found[["source", "said", "setting", "ours", "agrees"]].to_numpy().tolist()
    ruled = markdown.table(head, body, left=range(len(head)))
    title = "# What the papers find, and what is found here"
    return "\n".join([title, "", f"- {about}", f"- {told}.", "", *ruled]) + "\n"
