"""How far a command is: events of its steps, and the bar, live table, plain lines or file of JSON that show them."""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeElapsedColumn

FILE = "CURE_PROGRESS"  # names the file to which a stage adds its events; `cure grid` sets it
RECENT = 5  # steps from which the time to go is estimated
NO_TIME = 0.01  # seconds


@dataclass(frozen=True)
class Event:
    """A task has done this many of its steps, at this time of day in seconds; the note is about the last one."""

    label: str
    done: int
    total: int
    note: str
    time: float


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Yield a function that reports one more step with a note: as a bar on a terminal, and in the file `FILE` names."""
    if int(os.environ.get("RANK", "0")) > 0:  # of the processes that torchrun started, the first one reports
        yield lambda _: None
        return
    console, numbers, events = Console(stderr=True), count(done), deque[Event](maxlen=10 * RECENT)
    columns: list[ProgressColumn | str] = ["{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    columns += ["[progress.remaining]{task.fields[to_go]}", "{task.fields[note]}"]
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total, completed=done, to_go="", note="")

        def on_progress(note: str) -> None:
            events.append(Event(label, next(numbers), total, note, time.time()))
            bar.update(task, completed=events[-1].done, to_go=to_go(events) or "-:--:--", note=note)
            if path := os.environ.get(FILE):
                with suppress(OSError):  # a file that cannot be written stops no training
                    append(Path(path), asdict(events[-1]))

        on_progress("")
        yield on_progress


def append(path: Path, facts: dict[str, Any]) -> None:
    """Add a line of JSON to a file of progress."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of progress, without a last one that is half written."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def to_go(events: Sequence[Event]) -> str:
    """Estimate the time to go from the last steps that took time; a resumed stage passes its first steps in none."""
    seconds = [b.time - a.time for a, b in pairwise(events) if b.time - a.time > NO_TIME][-RECENT:]
    return clock(median(seconds) * (events[-1].total - events[-1].done), hours=True) if seconds else ""


@contextmanager
def shown(
    view: RenderableType, new_lines: Callable[[], Iterable[str]], console: Console, *, transient: bool = False
) -> Iterator[Callable[[], None]]:
    """Show `view` live on a terminal while the block runs; elsewhere print new lines at each call and at the end."""

    def report() -> None:
        for line in [] if console.is_terminal else new_lines():
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    with Live(view, console=console, transient=transient) if console.is_terminal else nullcontext():
        try:
            yield report
        finally:
            report()


def clock(seconds: float, *, hours: bool = False) -> str:
    """Format 90 seconds as 1:30 or, in a table, with `hours` as 0:01:30."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if hours or minutes >= 60 else f"{minutes}:{rest:02}"
