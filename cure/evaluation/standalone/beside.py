"""Compare an evaluation with published numbers: `cure eval --claim "TRADES, ResNet-18"`."""

from dataclasses import dataclass
from typing import Any

from cure.core.names import heading
from cure.errors import UserError
from cure.evaluation.standalone.measure import Evaluation
from cure.published import claims, find
from cure.published.agreement import Agreement, compare
from cure.published.attacks import UNKNOWN, columns
from cure.published.claims import Claim, Published
from cure.runtime.console import WholeTable, page, say

NOTE = (
    "percent; difference: measured minus published, with its 95 % interval, as of two networks on images of their own "
    "(Newcombe 1998), wider where deviations over seeds are printed; they can agree if it holds 0. It does not know "
    "how much another training would change."
)


@dataclass(frozen=True)
class Named:
    """The published rows that a text names, before it is known which images they are compared on."""

    text: str
    rows: list[Claim]
    published: Published

    @classmethod
    def by(cls, text: str) -> "Named":
        """Return the rows that `text` names; raise UserError if it names none, or several methods or networks."""
        published = claims.load(claims.path())
        return cls(text, find.claims(text, published), published)

    def on(self, images: str, model: str | None) -> list[tuple[Claim, int]]:
        """Return the rows about a data set, each with its number of test images; raise UserError for another model."""
        if model is not None and model != self.rows[0].model:
            raise UserError(f"--claim {self.text!r}: is about {self.rows[0].model}, but this network is {model}")
        return [(row, self.published.images[row.dataset]) for row in find.on(self.rows, self.text, images)]


def agreements(found: Evaluation, rows: list[tuple[Claim, int]]) -> list[Agreement]:
    """Return every number of the published rows beside ours."""
    threat = found.plan.threat
    known = columns(found.plan.known, threat.eps, threat.step)
    seen = {name: found.result.counts(name) for name in found.result.outcomes}
    counts = {name: (one.correct, one.images) for name, one in seen.items()}
    return [line for row, images in rows for line in compare(row, counts, known, images)]


def document(one: Agreement) -> dict[str, Any]:
    """Return one line for JSON: accuracies and differences in [0, 1], null where nothing was measured."""
    ends = dict(zip(("difference", "low", "high"), one.difference or (None, None, None), strict=True))
    return {name: value for name, value in vars(one).items() if name != "difference"} | ends | {"agrees": one.agrees}


def show(found: Evaluation) -> None:
    """Print a line per published number: what papers print first, then what others reproduced; and the caveats."""
    heads = ("Published", "Measure", "There", found.subject.name, "Difference", "Can agree", "Attack")
    table = WholeTable(*heads, names=2, prose=heads[-1:])
    for one in found.beside:
        source = one.source + (" (reproduced)" if one.kind == "reproduction" else "")
        table.add_row(source, heading(one.measure), _printed(one), *_measured(one), _attack(one))
    console = page()
    console.print(table, "")
    for text in (NOTE, *dict.fromkeys(f"{one.source}: {one.caveat}" for one in found.beside if one.caveat)):
        say(console, text, "dim")


def _printed(one: Agreement) -> str:
    return f"{100 * one.published:.2f}" + ("" if one.deviation is None else f" ± {100 * one.deviation:.2f}")


def _measured(one: Agreement) -> list[str]:
    if one.ours is None or one.difference is None:
        return ["", "", "not measured"]
    gap, low, high = (100 * value for value in one.difference)
    return [f"{100 * one.ours:.2f}", f"{gap:+.2f} [{low:+.2f}, {high:+.2f}]", "yes" if one.agrees else "no"]


def _attack(one: Agreement) -> str:
    """Return whether the attack is the published one, its differences, and the column that would measure that one."""
    ask = f"--attacks {one.same} is nearer" if one.same and one.ours is not None else f"--attacks {one.same}"
    said = (
        []
        if one.column == "clean"
        else ["not known in full" if one.differs == [UNKNOWN] else "; ".join(one.differs) or "same"]
    )
    return "; ".join((said if one.ours is not None else []) + ([ask] if one.same else []))
