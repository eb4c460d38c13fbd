"""The state of every stage: a live table on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from cure.pipeline.grid import attempts
from cure.pipeline.grid.attempts import Attempt
from cure.pipeline.grid.dag import Dag
from cure.runtime.progress import Event, clock, to_go

STATES = ("failed", "running", "queued", "done", "waiting", "skipped", "up to date")
"""In the order in which a short terminal shows them."""
STYLES = {"failed": "red", "running": "bold", "done": "green"}
SILENT = ("waiting", "queued", "up to date")  # states without a line of their own
INTERVAL = 60.0  # seconds between two lines about a running stage where there is no terminal


@dataclass
class Row:
    """The state of one stage."""

    stage: str
    state: str = "waiting"
    worker: str = ""
    attempts: int = 0
    started: float = 0.0  # time of day of the first attempt
    note: str = ""
    events: list[Event] = field(default_factory=list)  # of the last attempt

    def read(self, made: list[Attempt]) -> None:
        """Take the attempts of the stage's progress file; those that only waited are shown but not counted."""
        if not made:
            return
        last = made[-1]
        self.attempts = max(1, sum(attempt.let_go != attempts.WAITED for attempt in made))
        self.state, self.worker, self.started = "running", last.worker, made[0].started
        self.events, self.note = last.events, last.note

    @property
    def step(self) -> str:
        """Return 12/200, or nothing before the stage has reported."""
        return f"{self.events[-1].done}/{self.events[-1].total}" if self.events and self.events[-1].total else ""

    @property
    def to_go(self) -> str:
        """Return the estimated time to go of a running stage."""
        return to_go(self.events) if self.state == "running" else ""


class Board:
    """The rows of all stages as a view for runtime/progress.py."""

    def __init__(self, dag: Dag, console: Console) -> None:
        self.dag, self.console = dag, console
        self.rows = {stage: Row(stage, "up to date" if stage in dag.done else "waiting") for stage in dag.needs}
        self.workers = ""  # what is known of workers that are not there
        self._printed: dict[str, tuple[str, int, float]] = {}  # stage -> state and attempt of its last line, and when
        self._printed_workers = ""

    def queued(self, stage: str) -> None:
        """Record that a stage was given to the workers, and delete its progress of earlier calls."""
        self.dag.progress(stage).unlink(missing_ok=True)
        self.rows[stage].state = "queued"

    def ended(self, stage: str, state: str, note: str = "") -> None:
        """Record that a stage is done or has failed; without a note, record how long it took."""
        row = self.rows[stage]
        row.read(attempts.read(self.dag.progress(stage)))
        row.state, row.note = state, note or f"after {clock(time.time() - row.started, hours=True)}"

    def refresh(self) -> None:
        """Read the progress of the stages under way."""
        for row in self.rows.values():
            if row.state in ("queued", "running"):
                row.read(attempts.read(self.dag.progress(row.stage)))

    def count(self, state: str) -> int:
        """Return the number of stages in this state."""
        return sum(row.state == state for row in self.rows.values())

    def __rich__(self) -> Table:
        """As many rows as the terminal has lines, in the order of `STATES`."""
        counts = ", ".join(f"{n} {state}" for state in STATES if (n := self.count(state)))
        title = f"{self.dag.folder.name}: {counts}"
        table = Table("stage", "state", "step", "to go", "worker", "", title=title, caption=self.workers or None)
        rows = sorted(self.rows.values(), key=lambda row: STATES.index(row.state))
        for row in rows[: max(1, self.console.height - 8)]:
            state = row.state + (f" (attempt {row.attempts})" if row.attempts > 1 else "")
            table.add_row(row.stage, state, row.step, row.to_go, row.worker, row.note, style=STYLES.get(row.state))
        return table

    def new_lines(self) -> Iterator[str]:
        """Yield news of workers, a line for each new state or attempt, and now and then one for a running stage."""
        if self.workers != self._printed_workers:
            self._printed_workers = self.workers
            yield self.workers or "all workers are there"
        for row in self.rows.values():
            state, attempt, printed = self._printed.get(row.stage, ("waiting", 0, 0.0))
            due = row.state == "running" and time.monotonic() - printed > INTERVAL
            if row.state in SILENT or not (due or (row.state, row.attempts) != (state, attempt)):
                continue
            again = f", attempt {row.attempts}" if row.attempts > 1 else ""
            parts = [row.worker and f"on {row.worker}{again}", row.step, row.to_go and f"{row.to_go} to go", row.note]
            self._printed[row.stage] = (row.state, row.attempts, time.monotonic())
            yield " ".join([f"{row.stage}: {row.state}", *filter(None, parts)])
