"""The driver: gives every stage to a worker as soon as what it needs is done. Run again, it goes on."""

import contextlib
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

from distributed import Client, Future, KilledWorker, wait
from rich.console import Console

from cure.errors import UserError
from cure.pipeline.grid import dag as dags
from cure.pipeline.grid.board import Board
from cure.pipeline.grid.dag import Dag
from cure.pipeline.grid.work import Job, run
from cure.pipeline.grid.workers import Asked, connected
from cure.runtime.progress import shown

POLL_SECONDS = 1.0  # seconds between two looks


def reproduce(folder: Path, asked: Asked) -> int:
    """Bring every stage of `folder`/dvc.yaml up to date; 0, or 1 where one failed. Cells behind it are skipped."""
    dag = dags.read(folder)
    dag.logs.mkdir(parents=True, exist_ok=True)
    dags.begin(dag)
    console = Console(stderr=True)
    board = Board(dag, console)
    if len(dag.done) < len(dag.needs):
        with connected(asked, dag.folder, dag.logs) as client, shown(board, board.new_lines, console) as report:
            GridDriver(dag, board, report, client, asked.retries).drive()
    dags.settle(dag)
    for row in board.rows.values():
        if row.state == "failed":
            print(f"error: {row.stage}: {row.note}; its output: {dag.log(row.stage)}", file=sys.stderr)
    counts = {state: board.count(state) for state in ("done", "up to date", "failed", "skipped")}
    print(f"{dag.folder.name}: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n))
    return int(counts["failed"] > 0)


@dataclass
class GridDriver:
    """One drive through the graph."""

    dag: Dag
    board: Board
    report: Callable[[], None]  # called after each change of the board
    client: Client
    retries: int
    running: dict[Future[None], str] = field(default_factory=dict)

    def drive(self) -> None:
        """Until every stage has ended, or waits for one that failed.

        No more stages are handed out than workers are free, so that none queues behind another while a worker idles;
        of those that could start, the one with the most stages behind it does.
        """
        sorter, ready = TopologicalSorter(self.dag.needs), list[str]()
        sorter.prepare()
        while True:
            while new := sorter.get_ready():
                ready += [stage for stage in new if stage not in self.dag.done]
                sorter.done(*(stage for stage in new if stage in self.dag.done))
            ready.sort(key=lambda stage: self.dag.behind[stage])
            for _ in range(min(len(ready), self._workers() - len(self.running))):
                self._submit(ready.pop())
            if not ready and not self.running:
                break
            sorter.done(*self._ended())
            self.board.refresh()
            self.report()
        for row in self.board.rows.values():
            row.state = "skipped" if row.state == "waiting" else row.state

    def _workers(self) -> int:
        return sum(self.client.nthreads().values())

    def _submit(self, stage: str) -> None:
        self.board.queued(stage)
        job = Job(stage, self.dag.folder, self.dag.log(stage), self.dag.progress(stage), self.retries)
        self.running[self.client.submit(run, job, key=f"{stage}-{uuid.uuid4().hex}", pure=False)] = stage

    def _ended(self) -> list[str]:
        """Cells that are done since the last look, after a moment; those that failed are noted."""
        if not self.running:
            time.sleep(POLL_SECONDS)
            return []
        with contextlib.suppress(TimeoutError):
            wait(list(self.running), timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
        done = []
        for future in [future for future in self.running if future.done()]:
            stage = self.running.pop(future)
            if future.status == "finished":
                done.append(stage)
                self.board.ended(stage, "done")
            elif future.status == "error":
                self.board.ended(stage, "failed", _reason(future.exception()))
            else:
                raise UserError("the Dask scheduler is gone; the same command goes on with what is finished")
        return done


def _reason(problem: BaseException) -> str:
    return "its workers died under it" if isinstance(problem, KilledWorker) else str(problem)
