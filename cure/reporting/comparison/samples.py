"""Group the outcomes of several seeds by method, as samples for the pairs, ranks and marks of a report."""

from collections.abc import Mapping

from cure.evaluation.statistics.ratios import ratios
from cure.evaluation.statistics.two_level import TwoLevel, accuracies
from cure.reporting.results import setting
from cure.storage.paths import Run

Tested = dict[Run, dict[str, str]]
"""Run -> column -> its outcomes, a character per image."""
Sampled = dict[tuple[str, str], TwoLevel]
"""(setting, column) -> the two-level model of its methods, in the order of the runs."""


def sampled(tested: Tested, columns: list[str], nrr: str, starts: Mapping[str, str]) -> Sampled:
    """Return the model of every setting and column, and of NRR as `nrr_COLUMN`; empty if there is only one seed.

    Args:
        tested: outcomes by run.
        columns: clean, attacks, or both.
        nrr: the column of the ratio.
        starts: method -> the method whose networks it fine-tunes.
    """
    if len({run.seed for run in tested}) == 1:
        return {}
    found: Sampled = {}
    for where in dict.fromkeys(map(setting, tested)):
        outcomes = by_method({run: one for run, one in tested.items() if setting(run) == where})
        texts = {
            column: {method: [each[column] for each in runs] for method, runs in outcomes.items()}
            for column in dict.fromkeys(["clean", *columns, nrr])
        }
        found |= {(where, column): accuracies(texts[column], starts) for column in columns}
        found[where, f"nrr_{nrr}"] = ratios(texts["clean"], texts[nrr], starts)
    return found


def by_method(tested: Tested) -> dict[str, list[dict[str, str]]]:
    """Return method -> a list with the outcomes of each seed, by column."""
    found: dict[str, list[dict[str, str]]] = {}
    for run in sorted(tested, key=lambda run: run.seed):
        found.setdefault(run.method, []).append(tested[run])
    return found
