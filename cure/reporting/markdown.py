"""Format Markdown tables and the numbers in them."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd


def table(head: Sequence[Any], body: Sequence[Sequence[Any]], left: Collection[int]) -> list[str]:
    """Return the lines of a table; the columns in `left` are aligned left (words), the others right (numbers)."""
    rule = ["---" if i in left else "---:" for i in range(len(head))]
    return ["| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *body)]


def last(own: pd.DataFrame, column: str) -> tuple[str, str]:
    """Return the last epoch's accuracy, and its difference last - evaluated; dashes if it was not measured."""
    if f"{column}_last" not in own or own[f"{column}_last"].isna().any():
        return "-", "-"
    return spread(own[f"{column}_last"]), spread(own[f"{column}_delta"], signed=True)


def spread(over_seeds: "pd.Series[float]", signed: bool = False) -> str:
    """Format the mean over seeds, with the sample standard deviation if there are several: 86.76 or 86.76 ± 0.12."""
    mean = f"{over_seeds.mean():{'+' if signed else ''}.2f}"
    return f"{mean} ± {over_seeds.std():.2f}" if len(over_seeds) > 1 else mean
