"""The table, as Markdown for git and as rich for a terminal."""

import re
from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.schema import AttackSuite, ReportText


def heading(column: str) -> str:
    """pgd20 -> PGD-20, cw20 -> C&W-20, nrr_cw20 -> NRR, clean -> Clean."""
    if column.startswith("nrr_"):
        return "NRR"
    word, steps = re.fullmatch(r"(.*?)(\d*)", column).groups()  # type: ignore[union-attr]
    name = {"pgd": "PGD", "cw": "C&W", "aa": "AA", "nrr": "NRR"}.get(word, word.replace("_", " ").capitalize())
    return f"{name}-{steps}" if steps else name


def columns(suite: AttackSuite) -> list[str]:
    """The measures of a row, in the order of the table."""
    return ["clean", *suite.columns, f"nrr_{suite.nrr}", "corrupted"]


def rows(lines: pd.DataFrame, means: pd.DataFrame, epochs: dict[str, str], suite: AttackSuite) -> list[list[str]]:
    """Cells as text: mean over seeds, with the spread where there are several."""
    spread = lines.groupby(["setting", "method"]).std(numeric_only=True)
    several = lines["seed"].nunique() > 1

    def show(line: dict[Any, Any], column: str) -> str:
        text = f"{line[column]:.2f}"
        return f"{text} ± {spread.loc[(line['setting'], line['method']), column]:.2f}" if several else text

    return [
        [
            line["setting"],
            NAMES.get(line["method"], line["method"]),
            *(show(line, column) for column in columns(suite)),
            f"{line['epoch']:.0f}/{epochs[line['method']]}",
        ]
        for line in means.to_dict("records")
    ]


def markdown(body: list[list[str]], text: ReportText, suite: AttackSuite, about: list[str]) -> str:
    """table.md: title, note, table, and what was measured on what."""
    head = ["Data / model", "Method", *map(heading, columns(suite)), "Epoch"]
    ruled = [head, ["---", "---", *["---:"] * (len(head) - 2)], *body]
    lines = ["| " + " | ".join(row) + " |" for row in ruled]
    return "\n".join([f"# {text.title}", "", text.note, "", *lines, "", *(f"- {fact}" for fact in about)]) + "\n"


def show(path: Any) -> None:
    """Print the table of a table.md on the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    text = path.read_text()
    split = [[part.strip() for part in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("|")]
    table = Table(title=text.splitlines()[0].removeprefix("# "), box=box.SIMPLE_HEAD, pad_edge=False)
    for i, heading in enumerate(split[0]):
        table.add_column(heading, justify="left" if i < 2 else "right")
    for row in split[2:]:
        table.add_row(*row)
    console = Console()
    console.print(table)
    for row in text.splitlines():
        if row.startswith("- "):
            console.print(row, style="dim", highlight=False)
