"""Report progress: events of steps, shown by a bar, a live table or plain lines, or appended to a file of JSON."""

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

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

FILE = "CURE_PROGRESS"  # names the file to which a stage appends its events; `cure grid` sets it
RECENT = 5  # number of steps from which the time to go is estimated
NO_TIME = 0.01  # seconds
INTERVAL = 60.0  # least seconds between two lines about a task without a terminal
NARROWEST, WIDEST = 6, 40  # columns of a bar
STYLES = ("green", "yellow", "cyan")  # of the finished steps, the elapsed time and the time to go


@dataclass(frozen=True)
class Event:
    """The number of finished steps of a task at a time (Unix, seconds), with a note about the last step."""

    label: str
    done: int
    total: int
    note: str
    time: float


@contextmanager
def progress(label: str, total: int, done: int = 0, unit: str = "step") -> Iterator[Callable[[str], None]]:
    """Show the progress of a task, and yield a function that reports one more finished step with a note.

    A terminal shows a bar. Elsewhere stderr receives a line at most every `INTERVAL` seconds. In both cases every step
    is added to the file that `FILE` names.
    """
    if int(os.environ.get("RANK", "0")) > 0:  # only the first of the processes of torchrun reports
        yield lambda _: None
        return
    console, numbers, bar = Console(stderr=True), count(done), Bar(label, total, done)
    printed = bar.begun
    with Live(bar, console=console, refresh_per_second=10) if drawing(console) else nullcontext():

        def on_progress(note: str) -> None:
            nonlocal printed
            event = bar.step(next(numbers), note)
            if not drawing(console) and event.time - printed >= INTERVAL:
                printed = event.time
                console.print(Text(line(event, unit, bar.to_go)), soft_wrap=True)
            if path := os.environ.get(FILE):
                with suppress(OSError):  # a file that cannot be written must not stop a training
                    append(Path(path), asdict(event))

        on_progress("")
        yield on_progress


def line(event: Event, unit: str, left: str) -> str:
    """Format progress as a line: update digits/small/at-s0: epoch 7 of 25, val_pgd 0.512, 0:00:12 to go."""
    parts = [f"{unit} {event.done} of {event.total}", event.note, left and f"{left} to go"]
    return f"{event.label}: {', '.join(filter(None, parts))}"


def drawing(console: Console) -> bool:
    """Return whether a console can redraw in place."""
    return console.is_terminal and not console.is_dumb_terminal


class Bar:
    """The progress bar of a task. A narrow terminal omits first its label, then the bar itself, then its note."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done, self.begun = label, total, done, time.time()
        self.note = self.to_go = ""
        self.events = deque[Event](maxlen=10 * RECENT)

    def step(self, done: int, note: str) -> Event:
        """Record the number of finished steps, with a note about the last one, and return the event."""
        self.events.append(Event(self.label, done, self.total, note, time.time()))
        self.done, self.note, self.to_go = done, note, to_go(self.events)
        return self.events[-1]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield one line, no wider than the terminal."""
        numbers = [f"{self.done:{len(str(self.total))}}/{self.total}", clock(time.time() - self.begun, hours=True)]
        numbers.append(f"{self.to_go or '-:--:--'} to go")
        tries = ((self.label, self.note, NARROWEST), ("", self.note, NARROWEST), ("", self.note, -1), ("", "", -1))
        for label, note, least in tries:
            texts = [text for text in (label, *numbers, note) if text]
            room = options.max_width - sum(cell_len(text) + 1 for text in texts)
            if room >= least:
                break
        cells: list[RenderableType] = [
            Text(text, STYLES[numbers.index(text)] if text in numbers else "") for text in texts
        ]
        if room >= NARROWEST:
            cells.insert(bool(label), ProgressBar(self.total, self.done, min(room, WIDEST)))
        grid = Table.grid(*(Column(no_wrap=True) for _ in cells), padding=(0, 1, 0, 0))
        grid.add_row(*cells)
        yield grid


def append(path: Path, facts: dict[str, Any]) -> None:
    """Append a line of JSON to a progress file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a progress file, without an incomplete last line; empty if the file does not exist."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def seconds_to_go(events: Sequence[Event]) -> float | None:
    """Estimate the remaining seconds from the last RECENT steps, without those that a resumed stage skips."""
    seconds = [b.time - a.time for a, b in pairwise(events) if b.time - a.time > NO_TIME][-RECENT:]
    return median(seconds) * (events[-1].total - events[-1].done) if seconds else None


def to_go(events: Sequence[Event]) -> str:
    """Format the estimated time to go; return an empty text before there is an estimate."""
    seconds = seconds_to_go(events)
    return "" if seconds is None else clock(seconds, hours=True)


@contextmanager
def shown(
    view: RenderableType, new_lines: Callable[[], Iterable[str]], console: Console
) -> Iterator[Callable[[], None]]:
    """Show `view` while the block runs, then clear it. A console that cannot redraw prints new lines instead.

    The block must call the yielded function after each change.
    """
    live = drawing(console)

    def report() -> None:
        for text in [] if live else new_lines():
            console.print(Text(text), soft_wrap=True)

    with Live(view, console=console, transient=True) if live else nullcontext():
        try:
            yield report
        finally:
            report()


def clock(seconds: float, *, hours: bool = False) -> str:
    """Format 90 seconds as 1:30, or as 0:01:30 with `hours` (for a table)."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if hours or minutes >= 60 else f"{minutes}:{rest:02}"
