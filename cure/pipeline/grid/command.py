"""The driver of `cure grid`: hand each stage to a worker as soon as the stages that it needs are done."""

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
from cure.pipeline.grid.workers import WorkerOptions, connected
from cure.runtime.progress import shown
from cure.runtime.terminal import warn
from cure.settings.params import FILE

POLL_SECONDS = 1.0


def reproduce(folder: Path, options: WorkerOptions) -> int:
    """Bring every stage of `folder`/dvc.yaml up to date; return 1 if one failed, else 0.

    Stages that depend on a failed one are skipped.
    """
    _refuse_wrong_settings(folder / FILE)
    dag = dags.read(folder)
    dag.logs.mkdir(parents=True, exist_ok=True)
    dags.record_order(dag)
    console = Console(stderr=True)
    board = Board(dag, console)
    if len(dag.done) < len(dag.needs):
        with connected(options, dag.folder, dag.logs) as client, shown(board, board.new_lines, console) as report:
            GridDriver(dag, board, report, client, options.retries).drive()
    dags.restore_order(dag)
    for row in board.rows.values():
        if row.state == "failed":
            print(f"error: {row.stage}: {row.note}; its output: {dag.log(row.stage)}", file=sys.stderr)
    counts = {state: board.count(state) for state in ("done", "up to date", "failed", "skipped")}
    print(f"{dag.folder.name}: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n))
    return int(counts["failed"] > 0)


@dataclass
class GridDriver:
    """One pass through the graph of stages."""

    dag: Dag
    board: Board
    report: Callable[[], None]  # called after each change of the board
    client: Client
    retries: int
    running: dict[Future[None], str] = field(default_factory=dict)

    def drive(self) -> None:
        """Submit stages until each has ended or depends on one that failed.

        Submit only as many stages as workers are free, so that no stage queues on a busy worker while another idles.
        Of the stages that are ready, start the one with the most dependents.
        """
        sorter, ready = TopologicalSorter(self.dag.needs), list[str]()
        sorter.prepare()
        while True:
            while new := sorter.get_ready():
                ready += [stage for stage in new if stage not in self.dag.done]
                sorter.done(*(stage for stage in new if stage in self.dag.done))
            ready.sort(key=lambda stage: self.dag.dependents[stage])
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
        """Wait a moment, record failed stages on the board, and return the stages that are done since the last call."""
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
                raise UserError("lost the Dask scheduler; rerun to resume")
        return done


def _refuse_wrong_settings(path: Path) -> None:
    """Refuse a params.yaml of ours at once with all its mistakes, which its last stage would tell; others are DVC's."""
    from cure.evaluation.standalone.plan import OURS  # imports PyTorch, as the check does
    from cure.settings.check import load, unused

    if path.is_file() and OURS.search(path.read_text(encoding="utf-8", errors="replace")):
        warn(path, unused(load([], path=path).raw))


def _reason(problem: BaseException) -> str:
    return "its workers died" if isinstance(problem, KilledWorker) else str(problem)
