"""Tables in Markdown."""

from collections.abc import Collection, Sequence
from typing import Any


def table(head: Sequence[Any], body: Sequence[Sequence[Any]], left: Collection[int]) -> list[str]:
    """The lines of a table; the columns in `left` hold words, the others numbers, which stand right."""
    rule = ["---" if i in left else "---:" for i in range(len(head))]
    return ["| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *body)]
