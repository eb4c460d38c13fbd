"""Mistakes in a settings file as sentences: where, what was found, what is allowed."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from cure.errors import UserError, did_you_mean
from cure.settings.base import Settings

S = TypeVar("S", bound=Settings)


class Problems(list[str]):
    """Mistakes in the parts of a params file that its grid uses, one line each.

    `unused` are the mistakes in the rest, such as presets, methods and roles of no run. They stop nothing.
    """

    def __init__(self, lines: Iterable[str] = (), unused: Iterable[str] = ()) -> None:
        super().__init__(dict.fromkeys(lines))
        self.unused = [line for line in dict.fromkeys(unused) if line not in self]

    def of(self, *, used: bool) -> list[str]:
        """Return the list for mistakes in what the grid uses, or the list for the rest."""
        return self if used else self.unused

    def refuse(self, path: Path) -> None:
        """Raise `UserError` with all mistakes, if there are any."""
        if self:
            raise UserError("\n  ".join([f"{path} has problems:", *sorted(set(self))]))


def fill(kind: type[S], raw: Any, where: str, problems: list[str]) -> S | None:
    """Return `raw` as settings, or None after adding the mistakes to `problems`.

    Args:
        kind: settings class.
        raw: plain data of the section.
        where: key of the section, for messages.
        problems: receives one line for each mistake.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as failed:
        problems.extend(_sentence(kind, e, where, raw) for e in failed.errors())
    return None


def collect(read_section: Callable[[], Any], problems: list[str]) -> None:
    """Call `read_section` and add the lines of its `UserError`, if it raises one."""
    try:
        read_section()
    except UserError as refused:
        problems.extend(str(refused).splitlines())


def _sentence(kind: type[Settings], e: Mapping[str, Any], where: str, raw: Any) -> str:
    *inside, last = _place(e, raw) or [""]
    if last in kind.top_level:
        where = ""
    at = ".".join(part for part in (where, *inside, last) if part)
    if e["type"] == "missing":
        return f"{at}: missing"
    if e["type"] == "extra_forbidden":
        return f"{at}: unknown key{did_you_mean(last, _fields(kind, inside))}"
    said = f"{at}: {e['msg'].removeprefix('Value error, ')}"
    return said if e["type"] == "value_error" and not e["loc"] else f"{said}; found {e['input']!r}"


def _place(e: Mapping[str, Any], raw: Any) -> list[str]:
    """Return the keys that lead to a mistake, without the tags that pydantic adds for the kinds of a union."""
    found, missing = list[str](), e["type"] == "missing"
    for place, part in enumerate(map(str, e["loc"])):
        held = {str(key): value for key, value in (raw.items() if isinstance(raw, dict) else ())}
        held |= {str(key): value for key, value in enumerate(raw if isinstance(raw, list) else ())}
        if part in held or part == "[key]" or (missing and place == len(e["loc"]) - 1):
            found.append(part)
            raw = held.get(part)
    return found


def _fields(kind: type[Settings], inside: list[str]) -> list[str]:
    kinds = [kind]
    for part in inside:
        fields = [one.model_fields[part] for one in kinds if part in one.model_fields]
        kinds = [found for field in fields for found in _sections(field.annotation)]
    return [name for one in kinds for name in one.model_fields if name not in one.top_level]


def _sections(annotation: Any) -> list[type[Settings]]:
    """Return the sections that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _sections(inner)]
