"""Define the result of `evaluate`: an evaluation with a summary."""

from html import escape
from typing import TYPE_CHECKING, Any

from cure.evaluation.standalone import outputs
from cure.evaluation.standalone.images import GIVEN
from cure.evaluation.standalone.measure import Evaluation

if TYPE_CHECKING:
    import pandas as pd

HEADS = ("attack", "images", "accuracy", "95 % interval", "NRR", "95 % interval")


class EvaluationResult(Evaluation):
    """One network's accuracy under every attack, with intervals and with the flags that diagnostics raised.

    `accuracy`, `interval`, `nrr`, `nrr_interval` take the name of an attack, `clean` or `worst`. `flags` are signs that
    a number is not reliable. `result.outcomes` has a text for each attack with one character per image: 1 correct, 0
    not, - not evaluated.

    Example:
        >>> found = evaluate(net, "cifar10", attacks="clean, aa")
        >>> found.accuracy("aa"), found.interval("aa")
        >>> print(found.summary())
    """

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {100 * numbers['accuracy']:.2f} %" for name, numbers in self._numbers().items())
        flags = f"; {len(self.flags)} flag{'s' * (len(self.flags) > 1)}" if self.flags else ""
        return f"<{self._title()}: {shares}{flags}>"

    def summary(self) -> str:
        """Return a table in plain text: percent, with 95 % intervals; then every flag."""
        rows = [HEADS, *self._rows()]
        widths = [max(len(row[place]) for row in rows) for place in range(len(HEADS))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([self._title(), "", *lines, *(f"flag: {flag}" for flag in self.flags)])

    def to_pandas(self) -> "pd.DataFrame":
        """Return a row for each attack: images, and accuracy and NRR in [0, 1] with the ends of their intervals."""
        import pandas as pd

        return pd.DataFrame.from_dict(self._numbers(), orient="index").rename_axis("attack")

    def _repr_html_(self) -> str:
        """Return the summary as HTML for notebooks."""
        head = "".join(f"<th>{escape(text)}</th>" for text in HEADS)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in self._rows())
        flags = "".join(f"<p>flag: {escape(flag)}</p>" for flag in self.flags)
        return f"<table><caption>{escape(self._title())}</caption><tr>{head}</tr>{rows}</table>{flags}"

    def _title(self) -> str:
        of = "" if self.images.name == GIVEN else f" of {self.images.name}"
        return f"{self.subject.name} on {len(self.images.examples)} images{of}, {outputs.threat(self.plan.threat)}"

    def _rows(self) -> list[tuple[str, ...]]:
        return [_row(name, numbers) for name, numbers in self._numbers().items()]

    def _numbers(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of every attack, then the mean over corruptions if any were measured."""
        found = {name: outputs.summary(self, name) for name in self.result.outcomes}
        if self.corrupted and self.corrupted_accuracy is not None and self.corrupted_interval:
            low, high = self.corrupted_interval
            shares = {"accuracy": self.corrupted_accuracy, "low": low, "high": high}
            found["corrupted"] = {"images": self.corrupted.images, **shares}
        return found


def _row(name: str, numbers: dict[str, Any]) -> tuple[str, ...]:
    def percent(value: str, low: str, high: str) -> tuple[str, str]:
        if value not in numbers:
            return "", ""
        return f"{100 * numbers[value]:.2f}", f"{100 * numbers[low]:.1f} to {100 * numbers[high]:.1f}"

    return (name, str(numbers["images"]), *percent("accuracy", "low", "high"), *percent("nrr", "nrr_low", "nrr_high"))
