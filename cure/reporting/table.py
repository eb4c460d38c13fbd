"""The table, as Markdown for git and as rich for a terminal."""

import re
from typing import Any

import pandas as pd

from cure.core.names import NAMES
from cure.reporting.markdown import table as ruled
from cure.schema import AttackSuite, ReportText

WORDS = {"pgd": "PGD", "cw": "C&W", "aa": "AA", "fgsm": "FGSM", "nrr": "NRR", "linf": "L-inf", "l2": "L2"}


def heading(column: str) -> str:
    """pgd20 -> PGD-20, pgd20_trades -> PGD-20 trades, cw20 -> C&W-20, nrr_cw20 -> NRR, clean -> Clean."""
    if column.startswith("nrr_"):
        return "NRR"
    words: list[str] = []
    for part in column.split("_"):
        word, steps = re.fullmatch(r"(.*?)(\d*)", part).groups()  # type: ignore[union-attr]
        plain = word if words else word.capitalize()
        words.append(WORDS.get(part) or WORDS.get(word, plain) + (f"-{steps}" if steps else ""))
    return " ".join(words)


def columns(suite: AttackSuite) -> list[str]:
    """The measures of a row, in the order of the table."""
    return ["clean", *suite.table, f"nrr_{suite.nrr}", "corrupted"]


def rows(
    lines: pd.DataFrame, means: pd.DataFrame, epochs: dict[tuple[str, str], str], suite: AttackSuite
) -> list[list[str]]:
    """Cells as text: mean over seeds, with the spread where there are several; epochs by setting and method."""
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
            f"{line['epoch']:.0f}/{epochs[line['setting'], line['method']]}",
        ]
        for line in means.to_dict("records")
    ]


def markdown(body: list[list[str]], text: ReportText, suite: AttackSuite, about: list[str]) -> str:
    """table.md: title, note, table, and what was measured on what."""
    mark = {name: f" ({count})" for name, count in suite.subset.items()}
    head = ["Data / model", "Method", *(heading(name) + mark.get(name, "") for name in columns(suite)), "Epoch"]
    lines = ruled(head, body, left=(0, 1))
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
