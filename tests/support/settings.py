"""The committed params.yaml as plain data, and copies of them with other values."""

import copy
from functools import cache

from cure.settings.params import Params, read
from tests.support.project import ROOT

parsed = cache(read)  # once for each file, which no test changes
PAPER, QUICKSTART = (parsed(ROOT / name) for name in ("params.yaml", "quickstart/params.yaml"))
SCALES = {"paper": PAPER, "quickstart": QUICKSTART}
GONE = object()


def at(raw, place):
    for part in place:
        raw = raw[part]
    return raw


def changed(raw, where, value):
    """Return a copy with `value` at a dotted place, or without the key if it is GONE."""
    raw = copy.deepcopy(raw)
    *inside, last = where.split(".")
    section = at(raw, inside)
    section.pop(last, None)
    return raw if value is GONE else (section.update({last: value}) or raw)


def places(tree, inside=()):
    """Yield the places of all values of a params file, as tuples of keys."""
    for key, value in tree.items():
        yield (*inside, key)
        if isinstance(value, dict):
            yield from places(value, (*inside, key))


def view(raw, *declared):
    return Params(raw, list(declared), "digits", "small")
