"""Describe the attack behind a published number, and how it differs from a column of ours."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from cure.settings.base import Count, Positive, Radius, Settings, number

UNKNOWN = "the published attack is not known in full"
NO_COLUMN = "no column here is of this kind"
RESTARTS = {"restarts": 1}  # the value of a column without this key
COLUMNS = {"cw": "cw20"}  # measure -> column, where the names differ
CALLED = {"cw": r"cw\d+(_.*)?"}  # measure -> columns named after it, where their names have more than an ending
ATTACKED = {"nrr": "cw", "nrr_aa": "aa", "sum": "aa"}  # measure -> the attacked measure from which it is computed
WORDS = {"clip_start": "start clipped to [0, 1]:"}
ASCENT = ("step", "steps", "start", "clip_start")
WHOLE = {"pgd": ASCENT, "cw": ASCENT, "autoattack": ("version", "iterations")}  # keys that must be known of an attack
PLAIN = ("clean", "ood", "mrc", "drop")


class PublishedAttack(Settings):
    """The known settings of an attack. A key that is left out is not compared, but reported as unknown."""

    attack: Literal["pgd", "cw", "autoattack"]
    eps: Radius
    step: Positive | None = None
    steps: Count | None = None
    start: Literal["uniform", "gaussian", "zero"] | None = None
    clip_start: bool | None = None
    restarts: Count | None = None
    version: Literal["standard", "custom", "rand"] | None = None
    iterations: Count | None = None
    also: str | None = None  # a feature that no column of ours has

    def differences(self, ours: Mapping[str, Any]) -> list[str]:
        """Return how a column of ours differs from this attack, as `step 0.003, here 2/255`."""
        found = []
        for key, value in self.model_dump(exclude_none=True).items():
            own = RESTARTS.get(key) if key not in ours else ours[key]
            own = number(own) if isinstance(value, float) else own
            if key == "also":
                found.append(str(value))
            elif own is None or (abs(own - value) > 1e-9 if isinstance(value, float) else own != value):
                found.append(f"{WORDS.get(key, key)} {spelled(value)}, here {spelled(own)}")
        return found + [UNKNOWN] * any(getattr(self, key) is None for key in WHOLE[self.attack])


def spelled(value: Any) -> str:
    """Return a number as 8/255 where it is one (RiFT's step as 2/225), a bool as yes or no, others as text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        whole = [n for n in (255, 225) if abs(value * n - round(value * n)) < 1e-6]
        short = f"{value:g}"
        return f"{round(value * whole[0])}/{whole[0]}" if whole and len(short) > len("0.031") else short
    return str(value)


def columns(settings: Mapping[str, Mapping[str, Any]], eps: float, step: float) -> dict[str, dict[str, Any]]:
    """Return the columns of an attack suite, with the threat model as the default of each."""
    return {name: {"eps": eps, "step": step, **own} for name, own in settings.items()}


def attacked(measure: str) -> str | None:
    """Return the attacked measure behind a published one: aa for aa_best, cw for nrr; None if nothing is attacked."""
    plain = measure
    for end in ("_best", "_last", "_delta", "_gain"):
        plain = plain.removesuffix(end)
    return None if plain in PLAIN else ATTACKED.get(plain, plain)


def ours(
    measure: str, under: PublishedAttack | None, known: Mapping[str, Mapping[str, Any]]
) -> tuple[str | None, list[str]]:
    """Return our column to compare with a measure, or None, and how its attack differs from the published one.

    A column with the same attack comes first, whatever its name. Otherwise it is the nearest of the columns that are
    named after the measure (pgd20, pgd20_trades). Another radius outweighs all other differences.
    """
    called = COLUMNS.get(measure, measure)
    if under is None:
        return (called, [UNKNOWN]) if called in known else (None, [NO_COLUMN])
    found = {name: under.differences(own) for name, own in known.items()}
    alike = [name for name in found if not found[name] or re.fullmatch(CALLED.get(measure, rf"{measure}(_.*)?"), name)]
    if not alike:
        return None, [NO_COLUMN]
    nearest = min(alike, key=lambda name: (_other_radius(found[name]), len(found[name]), name != called))
    return nearest, found[nearest]


def _other_radius(differences: list[str]) -> bool:
    return any(one.startswith("eps") for one in differences)
