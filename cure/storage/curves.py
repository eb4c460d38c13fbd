"""Check that a curve is whole: the CSV that a training writes, one line per epoch."""

import csv
import io
from math import isfinite

ACCURACIES = ("val_clean", "val_pgd")


def refuse_cut(text: bytes, epochs: int | None) -> None:
    """Raise ValueError for a curve that is cut off or does not have the known number of `epochs`.

    In a curve of the layer-wise study, the column `set` names the block set of a line, and each set has its own epochs.
    """
    head, *lines = csv.reader(io.StringIO(text.decode()), strict=True) if text else [[]]
    if missing := [name for name in ("epoch", *ACCURACIES) if name not in head]:
        raise ValueError(f"it has no column {', '.join(missing)}")
    if not text.endswith(b"\n") or not lines or any(len(line) != len(head) for line in lines):
        raise ValueError("it is cut off in its first line" if not lines else "it is cut off within a line")
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=2):
        row = dict(zip(head, line, strict=True))
        own = row.pop("set", "")
        values = {name: _number(value, f"line {number}, {name}") for name, value in row.items()}
        if values["epoch"] != seen.get(own, 0) + 1:
            raise ValueError(f"line {number} is of epoch {row['epoch']}, not {seen.get(own, 0) + 1}")
        for name in ACCURACIES:
            if (share := values[name]) is not None and not 0 <= share <= 1:
                raise ValueError(f"line {number}, {name}: {share:g} is not an accuracy in [0, 1]")
        seen[own] = seen.get(own, 0) + 1
    if any(not row for row in (lines[-1][head.index(name)] for name in ACCURACIES)):
        raise ValueError("its last epoch has no validation accuracies")
    if epochs and (short := next((count for count in seen.values() if count != epochs), None)):
        raise ValueError(f"it has {short} epochs of a training of {epochs}")


def _number(value: str, where: str) -> float | None:
    """Return the number in a cell; None for an empty cell, of an epoch that was not validated."""
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{where}: {value!r} is not a number")
    return number
