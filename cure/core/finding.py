"""What a paper says of one of its figures, to be held against our own numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

Verdict = tuple[str, bool]
"""Our numbers as a phrase, and whether they agree with the paper's words."""


@dataclass(frozen=True)
class Finding:
    """`judge` gets the figure's table of one data set and model, all seeds, once it has every method of `rows`."""

    source: str  # paper and figure
    said: str  # one sentence, in our words
    rows: tuple[str, ...]
    judge: Callable[[pd.DataFrame], Verdict]
