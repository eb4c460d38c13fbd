"""dvc.yaml as DVC reads it: every matrix multiplied out, every ${...} filled in."""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any


def at(tree: Any, key: str) -> Any:
    """Return the value at a dotted key."""
    for part in key.split("."):
        tree = tree[part]
    return tree


def filled(value: Any, names: dict[str, Any]) -> Any:
    """Replace every ${a.b} in `value` as DVC does. A value that is only ${a.b} keeps its type."""
    if isinstance(value, dict):
        return {key: filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, names) for inner in value]
    if isinstance(value, str) and (alone := re.fullmatch(r"\$\{([\w.]+)\}", value)):
        return at(names, alone[1])
    return re.sub(r"\$\{([\w.]+)\}", lambda hit: str(at(names, hit[1])), value) if isinstance(value, str) else value


def stages(pipeline: dict[str, Any], names: dict[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield every stage in the order of dvc.yaml: its name there, and the filled values of these of its keys."""
    for name, family in pipeline["stages"].items():
        matrix = filled(family.get("matrix", {}), names)
        for values in product(*matrix.values()):
            item = names | {"item": dict(zip(matrix, values, strict=True))}
            yield name, [filled(family.get(key, []), item) for key in keys]
