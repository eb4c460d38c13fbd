"""Compare rows at paper scale with the acceptance windows of claims.yaml, for reports/findings.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cure.core.finding import Claim
from cure.core.names import NAMES, heading
from cure.evaluation.statistics.intervals import wilson
from cure.evaluation.statistics.two_level import accuracies
from cure.published import attacks
from cure.published.claims import Published
from cure.published.windows import Window
from cure.reporting import findings
from cure.reporting.made import epochs
from cure.reporting.results import Results, setting
from cure.storage.paths import Run

Line = dict[str, str]
NOT_MEASURED = "not measured"


def table(published: Published, results: Results, columns: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return a line for each test of a window, in the columns of findings.table; empty if no row is at paper scale.

    `columns` maps each of our attack columns to its settings, with eps and step of the threat model as defaults.
    """
    held = [
        RowInWindow(window, row, published, results, columns)
        for window in published.windows
        for row in results.rows
        if (row.dataset, row.model, row.method) == (window.dataset, window.model, window.method)
    ]
    return pd.DataFrame([line for one in held if one.at_scale for line in one.lines()], columns=findings.COLUMNS)


@dataclass(frozen=True)
class RowInWindow:
    """An acceptance window and the row of our table to compare with it. `row` is the run of the first seed."""

    window: Window
    row: Run
    published: Published
    results: Results
    columns: dict[str, dict[str, Any]]

    @property
    def at_scale(self) -> bool:
        """Return whether all runs match the window in epochs, images and choice of network."""
        return all(self._at_scale(run) for run in self.results.seeds(self.row))

    def _at_scale(self, run: Run) -> bool:
        result, trained = self.results.attacks[run], epochs(self.results, run) or 0
        if result.images != self.window.images or trained < self.window.epochs:
            return False
        return not (self.window.best and result.epoch == trained) and self._averaged(run) == self.window.average

    def _averaged(self, run: Run) -> bool | None:
        """Return whether the evaluated network is a run's weight average; None if its epoch leaves this open."""
        curve = self.results.curve(run).set_index("epoch")
        if "val_average_pgd" not in curve:
            return False
        average, student = (
            curve[name].idxmax() == self.results.attacks[run].epoch for name in ("val_average_pgd", "val_pgd")
        )
        return None if average == student else bool(average)

    def lines(self) -> Iterator[Line]:
        """Yield a line for each measure of the window, then one for each method that must be more robust."""
        place = {"figure": "acceptance", "setting": setting(self.row), "source": f"Acceptance: {self.window.source}"}
        name = self.window.called or NAMES.get(self.window.method, self.window.method)
        name += ", weights averaged" if self.window.average else ""
        for measure, (low, high) in self.window.ends.items():
            said = f"{name}: {heading(measure)} from {low:g} to {high:g}"
            yield place | {"said": said} | self._inside(measure, low, high)
        for measure, above in self.window.below.items():
            said = f"{name}: {heading(measure)} below that of {NAMES.get(above, above)}"
            yield place | {"said": said} | self._below(measure, above)

    def _outcomes(self, row: Run, measure: str) -> tuple[list[str], str]:
        """Return the outcomes of our column for a measure, one text per seed, or why none can be compared."""
        column, differences = measure, list[str]()
        if measure != "clean":
            under = self.published.attacks[self.window.under[measure]]
            found, differences = attacks.ours(measure, under, self.columns)
            column = found or measure
        if differences:
            return [], f"another attack: {'; '.join(differences)}"
        texts = [self.results.attacks[run].outcomes.get(column, "-") for run in self.results.seeds(row)]
        return (texts, "") if "-" not in "".join(texts) else ([], f"{heading(measure)} was not measured on all images")

    def _inside(self, measure: str, low: float, high: float) -> Line:
        """Return `yes` if our accuracy is in the window, `no` if its whole 95 % interval is outside.

        With several seeds the interval also covers other training runs. Their variance is estimated from this row.
        """
        texts, why = self._outcomes(self.row, measure)
        if why:
            return {"ours": why, "agrees": NOT_MEASURED}
        images = self.window.images
        share = sum(text.count("1") for text in texts) / len(texts) / images
        several = len(texts) > 1
        ends = accuracies({"own": texts}).mean("own").interval() if several else wilson(round(share * images), images)
        bottom, top = (100 * end for end in ends)
        ours = f"{100 * share:.2f} (95 %: {bottom:.2f} to {top:.2f})"
        if low <= round(100 * share, 2) <= high:
            return {"ours": ours, "agrees": "yes"}
        return {"ours": ours, "agrees": "no" if bottom > high or top < low else "not told apart"}

    def _below(self, measure: str, above: str) -> Line:
        """Test, as for a finding, whether another method of this setting is more robust on the same images."""
        name = NAMES.get(above, above)
        if self.row.of(above) not in self.results.rows:
            return {"ours": f"no row {name}", "agrees": NOT_MEASURED}
        (theirs, why), (own, _) = (self._outcomes(row, measure) for row in (self.row.of(above), self.row))
        if why or not own:
            return {"ours": why or f"{heading(measure)} was not measured on all images", "agrees": NOT_MEASURED}
        first, second = (100 * sum(text.count("1") for text in texts) / sum(map(len, texts)) for texts in (own, theirs))
        return {"ours": f"{first:.2f}, {name} {second:.2f}", "agrees": findings.answer([Claim(theirs, own)])}
