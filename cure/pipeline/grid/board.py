"""The state of every stage and the time to go: a live table on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from cure.pipeline.grid import attempts
from cure.pipeline.grid.attempts import Attempt
from cure.pipeline.grid.dag import Dag
from cure.pipeline.grid.time_left import expected, makespan
from cure.runtime.console import WholeTable, wrapped
from cure.runtime.progress import Event, clock, seconds_to_go, to_go

STATES = ("failed", "running", "queued", "done", "waiting", "skipped", "up to date")
"""In the order in which a short terminal shows them."""
STYLES = {"failed": "red", "running": "bold", "done": "green"}
LEFT = ("waiting", "queued", "running")
SILENT = ("waiting", "queued", "up to date")  # states without a line of their own
COLUMNS = (
    ("stage", "state", "step", "to go", "worker", "last step"),
    ("stage", "state", "step", "to go", "last step"),
    ("stage", "state", "step", "to go"),
    ("stage", "state or step", "to go"),
)
MOST_FAILED = 5  # failed stages whose reasons stand above the table
MARGIN = 4  # lines of a terminal without a row: the heading, its rule, and two below the table
INTERVAL = 60.0  # seconds between two lines about a running stage where there is no terminal


@dataclass
class Row:
    """The state of one stage."""

    stage: str
    state: str = "waiting"
    worker: str = ""
    attempts: int = 0
    started: float = 0.0  # time of day of the first attempt
    took: float = 0.0  # seconds, of a stage that is done
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

    @property
    def seconds(self) -> float | None:
        """Return the seconds that the stage took or will have taken; None if they are not known."""
        if self.state == "done":
            return self.took
        left = seconds_to_go(self.events)
        return None if left is None else time.time() - self.started + left

    @property
    def again(self) -> str:
        """Return the number of the attempt, from the second one on."""
        return f" (attempt {self.attempts})" if self.attempts > 1 else ""


class Board:
    """The rows of all stages as a view for runtime/progress.py."""

    def __init__(self, dag: Dag, console: Console) -> None:
        self.dag, self.console = dag, console
        self.rows = {stage: Row(stage, "up to date" if stage in dag.done else "waiting") for stage in dag.needs}
        self.workers = ""  # what is known of workers that are not there
        self.slots = 1  # stages that can run at a time
        self.left: float | None = None  # seconds until all stages have ended
        self._printed: dict[str, tuple[str, int, float]] = {}  # stage -> state and attempt of its last line, and when
        self._printed_workers, self._printed_left = "", time.monotonic()

    def queued(self, stage: str) -> None:
        """Record that a stage was given to the workers, and delete its progress of earlier calls."""
        self.dag.progress(stage).unlink(missing_ok=True)
        self.rows[stage].state = "queued"

    def ended(self, stage: str, state: str, note: str = "") -> None:
        """Record that a stage is done or has failed; without a note, record how long it took."""
        row = self.rows[stage]
        row.read(attempts.read(self.dag.progress(stage)))
        row.took = time.time() - row.started
        row.state, row.note = state, note or f"after {clock(row.took, hours=True)}"

    def refresh(self) -> None:
        """Read the progress of the stages under way, and estimate the time until all have ended."""
        for row in self.rows.values():
            if row.state in ("queued", "running"):
                row.read(attempts.read(self.dag.progress(row.stage)))
        self.left = self._left()

    def _left(self) -> float | None:
        """Return the seconds until all stages have ended; None before there is a base for an estimate."""
        done = {row.stage: row.seconds for row in self.rows.values() if row.state in ("done", "running")}
        took = {stage: seconds for stage, seconds in done.items() if seconds is not None}
        left = sorted(self._able(), key=lambda row: -self.dag.dependents.get(row.stage, 0))
        usual = expected(took, [row.stage for row in left])
        if not usual:
            return None
        running, to_come = dict[str, float](), dict[str, float]()
        for row in left:
            if row.state == "running":
                running[row.stage] = max(0.0, (row.seconds or usual[row.stage]) - (time.time() - row.started))
            else:
                to_come[row.stage] = usual[row.stage]
        return makespan(running, to_come, self.dag.needs, self.slots)

    def _able(self) -> list[Row]:
        """Return the stages that run or will start: all that have not ended and depend on none that failed."""
        lost = {stage for stage, row in self.rows.items() if row.state == "failed"}
        for stage, needs in self.dag.needs.items():  # parents first
            if not lost.isdisjoint(needs):
                lost.add(stage)
        return [row for row in self.rows.values() if row.state in LEFT and row.stage not in lost]

    def count(self, state: str) -> int:
        """Return the number of stages in this state."""
        return sum(row.state == state for row in self.rows.values())

    @property
    def summary(self) -> str:
        """Return how many stages are in each state, and the time to go."""
        counts = ", ".join(f"{n} {state}" for state in STATES if (n := self.count(state)))
        left = "" if self.left is None else f"; about {clock(self.left, hours=True)} to go"
        return f"{self.dag.folder.name}: {counts}{left}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield the summary, why stages failed, and as many rows as there is room for, in the order of `STATES`."""
        rows = sorted(self.rows.values(), key=lambda row: STATES.index(row.state))
        failed = [f"{row.stage}: {row.note}" for row in rows if row.state == "failed"]
        texts = [(self.summary, "bold"), (self.workers, ""), *((text, "red") for text in failed[:MOST_FAILED])]
        above = [Text(wrapped(text, options.max_width), style) for text, style in texts if text]
        yield from above
        room = self.console.height - sum(text.plain.count("\n") + 1 for text in above) - MARGIN
        yield _fitting(rows[: max(1, room)], options.max_width)

    def new_lines(self) -> Iterator[str]:
        """Yield news of workers, a line for each new state or attempt, and now and then one for a running stage."""
        if self.workers != self._printed_workers:
            self._printed_workers = self.workers
            yield self.workers or "all workers are there"
        if self.left is not None and time.monotonic() - self._printed_left > INTERVAL:
            self._printed_left = time.monotonic()
            yield self.summary
        for row in self.rows.values():
            state, attempt, printed = self._printed.get(row.stage, ("waiting", 0, 0.0))
            due = row.state == "running" and time.monotonic() - printed > INTERVAL
            if row.state in SILENT or not (due or (row.state, row.attempts) != (state, attempt)):
                continue
            again = f", attempt {row.attempts}" if row.attempts > 1 else ""
            parts = [row.worker and f"on {row.worker}{again}", row.step, row.to_go and f"{row.to_go} to go", row.note]
            self._printed[row.stage] = (row.state, row.attempts, time.monotonic())
            yield " ".join([f"{row.stage}: {row.state}", *filter(None, parts)])


def _fitting(rows: list[Row], width: int) -> WholeTable:
    """Return the rows in as many columns as fit: workers are left out first, then notes, then states beside steps.

    Notes of failed stages are left out, since they are printed above the table.
    """
    for heads in COLUMNS:
        table = WholeTable(*heads, names=2, prose=("worker", "last step"))
        for row in rows:
            state, note = row.state + row.again, "" if row.state == "failed" else row.note
            cells = {"stage": row.stage, "state": state, "step": row.step, "to go": row.to_go}
            cells |= {"state or step": (row.step or row.state) + row.again, "worker": row.worker, "last step": note}
            table.add_row(*(cells[head] for head in heads), style=STYLES.get(row.state, ""))
        if table.width <= width:
            break
    return table
