"""How far every stage is: a live table on a terminal, a line for each change elsewhere."""

import json
import time
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cure.pipeline.grid.dag import Dag

STATES = [
    "failed",
    "running",
    "queued",
    "done",
    "waiting",
    "skipped",
    "up to date",
]  # in the order in which a short terminal shows them
STYLES = {"failed": "red", "running": "bold", "done": "green"}
RECENT = 5  # steps of which the time to go is estimated
NO_TIME = 0.01  # seconds
EVERY = 60.0  # seconds between two lines about a running stage where there is no terminal


@dataclass
class Row:
    """What is known of a stage."""

    stage: str
    state: str = "waiting"
    worker: str = ""
    attempts: int = 0
    began: float = 0.0  # the first attempt of this run
    done: int = 0
    total: int = 0
    note: str = ""
    times: list[float] = field(default_factory=list)  # of the steps of the last attempt

    def read(self, lines: list[dict[str, Any]]) -> None:
        """Take the lines of its progress file."""
        starts = [i for i, line in enumerate(lines) if "worker" in line]
        if not starts:
            return
        steps = lines[starts[-1] + 1 :]
        self.state, self.attempts, self.worker = "running", len(starts), lines[starts[-1]]["worker"]
        self.began = lines[starts[0]]["time"]
        self.times = [line["time"] for line in steps]
        self.done, self.total, self.note = (
            (steps[-1][key] for key in ("done", "total", "note")) if steps else (0, 0, "")
        )

    @property
    def step(self) -> str:
        """12/200, once the stage has said it."""
        return f"{self.done}/{self.total}" if self.total else ""

    @property
    def left(self) -> str:
        """Time to go, from the last steps; those that a resumed stage passes in no time were done before."""
        gaps = [b - a for a, b in pairwise(self.times) if b - a > NO_TIME][-RECENT:]
        return clock(median(gaps) * (self.total - self.done)) if gaps and self.state == "running" else ""


def clock(seconds: float) -> str:
    """1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class Board:
    """The rows of a run, shown while it lasts."""

    def __init__(self, dag: Dag, console: Console) -> None:
        self.dag, self.console = dag, console
        self.rows = {stage: Row(stage, "up to date" if stage in dag.done else "waiting") for stage in dag.needs}
        self._live = (
            Live(get_renderable=self.table, console=console, auto_refresh=False) if console.is_terminal else None
        )
        self._said: dict[str, tuple[str, int, float]] = {}

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()
        if self._live:
            self._live.stop()

    def queued(self, stage: str) -> None:
        """It was given to the workers; what an earlier run said about it is forgotten."""
        self.dag.progress(stage).unlink(missing_ok=True)
        self.rows[stage].state = "queued"

    def ended(self, stage: str, state: str, note: str = "") -> None:
        """It is done, after some time, or failed."""
        row = self.rows[stage]
        self._look(row)
        row.state, row.note = state, note or f"after {clock(time.time() - row.began)}"

    def refresh(self) -> None:
        """Look at the running stages and show what is new."""
        for row in self.rows.values():
            if row.state in ("queued", "running"):
                self._look(row)
        if self._live:
            self._live.refresh()
        else:
            for row in self.rows.values():
                self._say(row)

    def count(self, state: str) -> int:
        """How many stages are in this state."""
        return sum(row.state == state for row in self.rows.values())

    def table(self) -> Table:
        """As many rows as the terminal has lines, those that somebody may want to look at first."""
        counts = ", ".join(f"{n} {state}" for state in STATES if (n := self.count(state)))
        shown = Table("cell", "state", "step", "to go", "worker", "", title=f"{self.dag.folder.name}: {counts}")
        for row in sorted(self.rows.values(), key=lambda row: STATES.index(row.state))[
            : max(1, self.console.height - 6)
        ]:
            state = row.state + (f" (attempt {row.attempts})" if row.attempts > 1 else "")
            shown.add_row(row.stage, state, row.step, row.left, row.worker, row.note, style=STYLES.get(row.state))
        return shown

    def _look(self, row: Row) -> None:
        path = self.dag.progress(row.stage)
        if path.exists():
            text = path.read_text(encoding="utf-8")
            row.read([json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()])  # the last may be half

    def _say(self, row: Row) -> None:
        state, attempt, at = self._said.get(row.stage, ("waiting", 0, 0.0))
        new = (row.state, row.attempts) != (state, attempt)
        if row.state in ("waiting", "queued", "up to date") or not (new or self._due(row, at)):
            return
        again = f", attempt {row.attempts}" if row.attempts > 1 else ""
        parts = [row.worker and f"on {row.worker}{again}", row.step, row.left and f"{row.left} to go", row.note]
        self.console.print(
            f"{row.stage}: {row.state}", *filter(None, parts), soft_wrap=True, highlight=False, markup=False
        )
        self._said[row.stage] = (row.state, row.attempts, time.monotonic())

    def _due(self, row: Row, at: float) -> bool:
        return row.state == "running" and time.monotonic() - at > EVERY
