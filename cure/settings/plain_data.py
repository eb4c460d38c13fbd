"""What no settings file may hold, whatever it means: values without end, and characters that no file takes."""

import re
from collections.abc import Iterator
from typing import Any

from cure.settings.base import is_epoch

MOST = 1_000_000  # characters and values, aliases written out; the published file has 40,000
UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def refuse_odd(raw: Any) -> None:
    """Raise ValueError for nested aliases that stand for more than anyone reads, and for characters without a file."""
    if _size(raw, {}) > MOST:
        raise ValueError(f"its aliases stand for more than {MOST:,} values; write out what is meant")
    for where, value in _walk(raw, "", set()):
        if isinstance(value, str) and (found := UNWRITABLE.search(value)):
            raise ValueError(f"{where}: holds U+{ord(found[0]):04X}, a character that no text file can hold")


def with_epochs_as_numbers(raw: Any) -> None:
    """Turn '19' beside the key 23 into 19, in place: an experiment's override writes the epoch that it adds as a word.

    An epoch that stands there twice is left for the section's own check.
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
    """Characters and values in `value`; what stands in several places is counted in each, and looked at once."""
    if isinstance(value, str):
        return 1 + len(value)
    if not isinstance(value, dict | list | tuple):
        return 1
    if id(value) not in known:
        known[id(value)] = 0  # a mapping that an anchor puts into itself is told by the caller
        known[id(value)] = 1 + sum(_size(key, known) + _size(part, known) for key, part in _parts(value))
    return known[id(value)]


def _walk(value: Any, where: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the place of every key and value, and itself; what stands in several places has one."""
    if id(value) in seen and not isinstance(value, str):
        return
    seen.add(id(value))
    yield where, value
    for key, part in _parts(value):
        yield where, key
        yield from _walk(part, f"{where}.{key}".lstrip("."), seen)
