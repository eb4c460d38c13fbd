"""The driver of `cure grid`: hand each stage to a worker as soon as the stages that it needs are done."""

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

from distributed import Future, wait
from rich.console import Console

from cure.errors import UserError
from cure.pipeline.grid import dag as dags
from cure.pipeline.grid.board import Board
from cure.pipeline.grid.dag import Dag
from cure.pipeline.grid.jobs import dry_run
from cure.pipeline.grid.options import WorkerOptions
from cure.pipeline.grid.work import Job, run
from cure.pipeline.grid.workers import Workers, connected
from cure.runtime.console import say
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
    dags.record_order(dag)
    console = Console(stderr=True)
    board = Board(dag, console)
    try:
        if len(dag.done) < len(dag.needs):
            with connected(options, dag.folder, dag.logs) as workers, shown(board, board.new_lines, console) as report:
                GridDriver(dag, board, report, workers, options.retries).drive()
    finally:  # after an interruption, too
        for row in board.rows.values():
            if row.state == "failed":
                say(console, f"error: {row.stage}: {row.note}; its output: {dag.log(row.stage)}")
    dags.restore_order(dag)
    counts = {state: board.count(state) for state in ("done", "up to date", "failed", "skipped")}
    if not counts["failed"]:
        dags.show(dag)
    print(f"{dag.folder.name}: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n))
    return int(counts["failed"] > 0)


def print_scripts(folder: Path, options: WorkerOptions) -> int:
    """Print the scripts that `--slurm` would submit; return 0."""
    if not options.slurm:
        raise UserError("--dry-run: only with --slurm, whose job scripts it prints")
    print("\n".join(dry_run(options, folder, dags.logs_of(folder))))
    return 0


@dataclass
class GridDriver:
    """One pass through the graph of stages."""

    dag: Dag
    board: Board
    report: Callable[[], None]  # called after each change of the board
    workers: Workers
    retries: int
    running: dict[Future[None], str] = field(default_factory=dict)

    def drive(self) -> None:
        """Submit stages until each has ended or depends on one that failed.

        Submit only as many stages as workers are free, so that no stage queues on a busy worker while another idles.
        """
        sorter, ready = TopologicalSorter(self.dag.needs), list[str]()
        sorter.prepare()
        while True:
            while new := sorter.get_ready():
                ready += [stage for stage in new if stage not in self.dag.done]
                sorter.done(*(stage for stage in new if stage in self.dag.done))
            if not ready and not self.running:
                break
            self.board.workers = self.workers.tend(self._left())
            self.board.slots = sum(self.workers.count().values())
            for stage in self._startable(ready):
                ready.remove(stage)
                self._submit(stage)
            sorter.done(*self._ended())
            self.board.refresh()
            self.report()
        for row in self.board.rows.values():
            row.state = "skipped" if row.state == "waiting" else row.state

    def _pool(self, stage: str) -> str:
        return self.workers.pool(gpu=stage not in self.dag.without_gpu)

    def _left(self) -> Counter[str]:
        """Return the number of stages that each pool has before it."""
        left = [row.stage for row in self.board.rows.values() if row.state in ("waiting", "queued", "running")]
        return Counter(self._pool(stage) for stage in left)

    def _startable(self, ready: list[str]) -> list[str]:
        """Return as many ready stages as each pool has free workers, those with the most dependents first."""
        free = Counter(self.workers.count())
        free.subtract(self._pool(stage) for stage in self.running.values())
        chosen = []
        for stage in sorted(ready, key=lambda stage: -self.dag.dependents[stage]):
            if free[self._pool(stage)] > 0:
                free[self._pool(stage)] -= 1
                chosen.append(stage)
        return chosen

    def _submit(self, stage: str) -> None:
        self.board.queued(stage)
        job = Job(stage, self.dag.folder, self.dag.log(stage), self.dag.progress(stage), self.retries)
        pool = self._pool(stage)
        key, resources = f"{stage}-{uuid.uuid4().hex}", {pool: 1} if pool else None
        self.running[self.workers.client.submit(run, job, key=key, resources=resources, pure=False)] = stage

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
                self.board.ended(stage, "failed", str(future.exception()))
            else:
                raise UserError("lost the Dask scheduler; rerun to resume")
            future.release()  # else Dask would run it again if the worker that holds its result dies
        return done


def _refuse_wrong_settings(path: Path) -> None:
    """Raise UserError with all mistakes in a params.yaml of cure before any stage runs; DVC reads other projects'."""
    from cure.evaluation.standalone.plan import OURS  # imports PyTorch, as the check does
    from cure.settings.check import load, unused

    if path.is_file() and OURS.search(path.read_text(encoding="utf-8", errors="replace")):
        warn(path, unused(load([], path=path).raw))
