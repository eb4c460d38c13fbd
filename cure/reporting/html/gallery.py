"""Show each method's outcome on test images. Images are shown by number, since result files hold no pixels."""

from collections.abc import Callable
from dataclasses import dataclass

from cure.core.names import NAMES
from cure.evaluation.statistics.headings import headings
from cure.evaluation.statistics.results import RunAttackResult
from cure.reporting.results import AttackResults, setting

MOST = 30
"""The largest number of images for a setting."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one image: `kind` is correct (under every attack), broken, or wrong (misclassified clean)."""

    kind: str
    text: str
    said: str


@dataclass(frozen=True)
class Wall:
    """The outcomes of all methods of a setting (first seed) on the same images, the hardest image first.

    At least half of the networks classify each image correctly when it is not attacked.
    """

    setting: str
    images: list[int]
    norm: str  # heading of the column of smallest perturbations; empty if there is none
    lines: list[tuple[str, list[Outcome]]]


def gallery(attacks: AttackResults) -> list[Wall]:
    """Return the gallery of each setting, hardest image first, with at most MOST evenly spaced images."""
    first = min((run.seed for run in attacks), default=0)
    settings = dict.fromkeys(map(setting, attacks))
    return [
        _wall(where, {r: a for r, a in attacks.items() if setting(r) == where and r.seed == first})
        for where in settings
    ]


def _wall(where: str, attacks: AttackResults) -> Wall:
    results = list(attacks.values())
    titled = headings(results)
    column = next((name for name, about in results[0].minima.items() if about.norm == results[0].norm), "")
    needed = ["worst", *([column] if column else [])]
    known = [
        i
        for i in range(results[0].images)
        if all(one.outcomes[name][i] != "-" for one in results for name in needed)
        and 2 * sum(one.outcomes["clean"][i] == "1" for one in results) >= len(results)
    ]
    hardest = sorted(known, key=lambda i: (sum(one.outcomes["worst"][i] == "1" for one in results), i))
    images = [hardest[k * len(hardest) // MOST] for k in range(MOST)] if len(hardest) > MOST else hardest
    lines = [
        (NAMES.get(run.method, run.method), [_outcome(result, i, column, titled) for i in images])
        for run, result in attacks.items()
    ]
    return Wall(where, images, titled(column) if column else "", lines)


def _outcome(result: RunAttackResult, image: int, column: str, titled: Callable[[str], str]) -> Outcome:
    if result.outcomes["clean"][image] != "1":
        return Outcome("wrong", "\N{MULTIPLICATION SIGN}", "misclassified without an attack")
    distance = _distance(result, image, column)
    size = "none found" if distance is None else f"{distance:.4g}"
    found = f"; smallest perturbation {size} ({titled(column)})" if column else ""
    text = "\N{MIDDLE DOT}" if distance is None else f"{distance / result.eps:.1f}"
    if result.outcomes["worst"][image] == "1":
        return Outcome("correct", text, f"correct under every attack within eps {result.eps:g}{found}")
    return Outcome("broken", text, f"broken first by {_breaker(result, image, titled)}{found}")


def _distance(result: RunAttackResult, image: int, column: str) -> float | None:
    about = result.minima.get(column)
    return about.distances[about.rows.index(image)] if about and image in about.rows else None


def _breaker(result: RunAttackResult, image: int, titled: Callable[[str], str]) -> str:
    """Return the first column of params.yaml that breaks the image, with the attack if the column has several."""
    lost = (name for name in result.columns if result.outcomes.get(name, "")[image : image + 1] == "0")
    if not (name := next(lost, "")):
        return "an attack that has no column"
    attack = next((one for one, images in result.columns[name].broken_by.items() if image in images), "")
    return f"{titled(name)} ({attack})" if attack and len(result.columns[name].broken_by) > 1 else titled(name)
