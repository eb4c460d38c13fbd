"""Record attempts at a stage in its progress file: start and steps of each, and why it does not count as a failure."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cure.runtime import progress
from cure.runtime.progress import Event

HANDED_ON = "handed on"  # its worker ended: walltime, a cancelled job, or a driver that is gone
WAITED = "waited"  # another process holds what DVC locks


@dataclass
class Attempt:
    """One `dvc repro` of a stage: its worker, start, steps, and why it does not count as a failure."""

    worker: str
    started: float  # time of day
    events: list[Event] = field(default_factory=list)
    let_go: str = ""
    note: str = ""  # of the last event, or the reason of `let_go`


def begin(path: Path, worker: str) -> None:
    """Record that an attempt begins."""
    progress.append(path, {"worker": worker, "time": time.time()})


def let_go(path: Path, how: str, why: str = "") -> None:
    """Record that the last attempt ended through no fault of the stage."""
    progress.append(path, {"let_go": how, "note": why})


def read(path: Path) -> list[Attempt]:
    """Return the attempts that a progress file records."""
    return parse(progress.read(path))


def parse(lines: Iterable[dict[str, Any]]) -> list[Attempt]:
    """Return the attempts that these lines record; ignore steps before the first one."""
    attempts: list[Attempt] = []
    for line in lines:
        if "worker" in line:
            attempts.append(Attempt(line["worker"], line["time"]))
        elif attempts and "let_go" in line:
            attempts[-1].let_go, attempts[-1].note = line["let_go"], line["note"]
        elif attempts:
            attempts[-1].events.append(Event(**line))
            attempts[-1].note = line["note"]
    return attempts


def fruitless(attempts: Iterable[Attempt]) -> int:
    """Count the attempts since the last one with a new step, except for those that were released.

    A step is new if no earlier attempt has reported it: a resumed stage reports its finished steps again.
    """
    count, known = 0, set[tuple[str, int]]()
    for attempt in attempts:
        steps = {(event.label, event.done) for event in attempt.events if event.done}
        count = 0 if steps - known else count + (not attempt.let_go)
        known |= steps
    return count
