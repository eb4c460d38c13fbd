"""Tables in Markdown, and the numbers in them."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd


def table(head: Sequence[Any], body: Sequence[Sequence[Any]], left: Collection[int]) -> list[str]:
    """The lines of a table; the columns in `left` hold words, the others numbers, which stand right."""
    rule = ["---" if i in left else "---:" for i in range(len(head))]
    return ["| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *body)]


def last(own: pd.DataFrame, column: str) -> tuple[str, str]:
    """Accuracy of the last epoch's network, and how much that is more than the evaluated one's; dashes if unknown."""
    if f"{column}_last" not in own or own[f"{column}_last"].isna().any():
        return "-", "-"
    return spread(own[f"{column}_last"]), spread(own[f"{column}_delta"], signed=True)


def spread(over_seeds: "pd.Series[float]", signed: bool = False) -> str:
    """86.76, or 86.76 ± 0.12 of several seeds: the mean and the sample standard deviation."""
    mean = f"{over_seeds.mean():{'+' if signed else ''}.2f}"
    return f"{mean} ± {over_seeds.std():.2f}" if len(over_seeds) > 1 else mean
