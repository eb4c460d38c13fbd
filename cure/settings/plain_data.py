"""Refuse values that no settings file may hold: endless ones, and characters that no text file can contain."""

import re
from collections.abc import Iterator
from typing import Any

from cure.settings.base import is_epoch

MOST = 1_000_000  # most characters and values, with aliases expanded; the published file has 40,000
UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def refuse_odd(raw: Any) -> None:
    """Raise ValueError if aliases expand to more than MOST values, or if a character cannot be in a text file."""
    if _size(raw, {}) > MOST:
        raise ValueError(f"its aliases expand to more than {MOST:,} values; use fewer of them")
    for where, value in _walk(raw, "", set()):
        if isinstance(value, str) and (found := UNWRITABLE.search(value)):
            raise ValueError(f"{where}: holds U+{ord(found[0]):04X}, a character that no text file can hold")


def with_epochs_as_numbers(raw: Any) -> None:
    """Replace the key '19' beside the key 23 by 19, in place: an override with -S adds an epoch as a string.

    An epoch that occurs as both is left for the section's own check.
    """
    for _, value in list(_walk(raw, "", set())):
        if isinstance(value, dict) and any(isinstance(key, int) for key in value):
            for key in [key for key in value if is_epoch(key) and int(key) not in value]:
                value[int(key)] = value.pop(key)


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _size(value: Any, known: dict[int, int]) -> int:
    """Return the number of characters and values in `value`. Shared parts count at each place, but are visited once."""
    if isinstance(value, str):
        return 1 + len(value)
    if not isinstance(value, dict | list | tuple):
        return 1
    if id(value) not in known:
        known[id(value)] = 0  # `read` reports a mapping that contains itself
        known[id(value)] = 1 + sum(_size(key, known) + _size(part, known) for key, part in _parts(value))
    return known[id(value)]


def _walk(value: Any, where: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield (place, value) of every key and value; a shared part is visited once."""
    if id(value) in seen and not isinstance(value, str):
        return
    seen.add(id(value))
    yield where, value
    for key, part in _parts(value):
        yield where, key
        yield from _walk(part, f"{where}.{key}".lstrip("."), seen)
