"""Provide the headings of attack columns in tables."""

from collections.abc import Callable, Iterable

from cure.core.names import heading
from cure.evaluation.statistics.results import AttackResult


def headings(results: Iterable[AttackResult]) -> Callable[[str], str]:
    """Return the function from a column's name to its heading, with the titles that attacks gave in these results."""
    titles = {name: about.title for result in results for name, about in result.columns.items() if about.title}
    return lambda column: heading(column, titles.get(column, ""))
