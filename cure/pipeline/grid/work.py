"""Run one stage on one worker: `dvc repro -s STAGE`, again if it was killed."""

import os
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from distributed import Reschedule, Status, get_worker

from cure.pipeline.code_texts import search_path
from cure.pipeline.grid import attempts, keeper
from cure.runtime import progress

POLL_SECONDS = 0.2
BUSY_SECONDS = 600.0  # time for an unknown owner of DVC's locks to end
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")
"""Printed by DVC while another process holds its lock."""
KILLED = re.compile(r"exited with (?:-\d+|1[3-9]\d)\b|failed \(exitcode: -\d+\)|SignalException: .*got signal")
"""Printed by DVC about a stage that a signal ended, and by torchrun about one of its processes, or about itself."""
UNLISTED = re.compile(r"RWLock-file|unexpected error$", re.MULTILINE)
"""Printed by DVC when its list of locks is damaged, or was mended while it ran."""


@dataclass(frozen=True)
class Job:
    """A stage, the folder of its dvc.yaml, the files of its output and its progress, and its number of retries."""

    stage: str
    folder: Path
    log: Path
    progress: Path
    retries: int

    def log_of(self, stage: str) -> Path:
        """Return the file of another stage's output."""
        return log(self.log.parent, stage)


def log(logs: Path, stage: str) -> Path:
    """Return the file of a stage's output in the folder of logs."""
    return logs / f"{stage.replace('/', '_')}.log"


class StageFailed(Exception):
    """A stage ended with an error, whose last line is the text."""


def run(job: Job) -> None:
    """Reproduce the stage on this worker. A stage that was killed continues from its resume file.

    Raises:
        StageFailed: the stage failed, or `retries` attempts, here or on other workers, were killed without a new step.
    """
    if not job.folder.is_dir():
        raise StageFailed(
            f"{job.folder} is not on {socket.gethostname()}; workers share the folder, or have clones of their own"
        )
    needed, busy_since = _still_needed(), time.monotonic()
    while (killed := attempts.fruitless(attempts.read(job.progress))) <= job.retries:
        code, output = _attempt(job, needed)
        if code == 0:
            return
        if any(line in output for line in BUSY):
            _wait(job, time.monotonic() - busy_since)
            continue
        busy_since = time.monotonic()
        if UNLISTED.search(output):
            from cure.pipeline.grid import rwlock  # imports DVC

            rwlock.mend(job.folder)
        elif code > 0 and not KILLED.search(output):
            raise StageFailed(last_error(output))
    raise StageFailed(f"killed {killed} times without a new step")


def _attempt(job: Job, needed: Callable[[], bool]) -> tuple[int, str]:
    """Return the exit code of one `dvc repro` and the output that it added to the log."""
    with job.log.open("a"):
        start = job.log.stat().st_size
    attempts.begin(job.progress, _worker_name())
    command = [sys.executable, "-m", "dvc", "--cd", str(job.folder), "--wait-for-lock", "repro", "-s", job.stage]
    with keeper.start(
        job.log, job.folder, command, {progress.FILE: str(job.progress), "PATH": search_path()}
    ) as process:
        while (wanted := needed()) and process.poll() is None:
            time.sleep(POLL_SECONDS)
        if not wanted:
            attempts.let_go(job.progress, attempts.HANDED_ON)
    if not wanted:
        raise Reschedule
    with job.log.open("rb") as output:
        output.seek(start)
        return process.returncode, output.read().decode(errors="replace")


def _wait(job: Job, seconds: float) -> None:
    """Drop entries of other hosts' dead processes from DVC's list of locks, record those that may live, wait a second.

    After `BUSY_SECONDS`, give up if no process of this host holds the lock.
    """
    from cure.pipeline.grid import rwlock  # imports DVC

    unknown = "; ".join(rwlock.strangers(job.folder, job.log_of))
    attempts.let_go(job.progress, attempts.WAITED, f"waits for {unknown or 'another dvc command'}")
    if unknown and seconds > BUSY_SECONDS:
        raise StageFailed(
            f"blocked for {seconds / 60:.0f} minutes by {unknown}, which does not run on {socket.gethostname()}; "
            "if it runs on no host, delete .dvc/tmp/rwlock and rerun"
        )
    time.sleep(1)


def _still_needed() -> Callable[[], bool]:
    """Return a check that worker and driver are alive: Dask drops the tasks of a driver that is gone."""
    worker = get_worker()
    key = worker.get_current_task()

    def needed() -> bool:
        task = worker.state.tasks.get(key)
        executing = task is not None and task.state == "executing"
        return executing and worker.status in (Status.running, Status.paused)

    return needed


def _worker_name() -> str:
    """Return the host and the device of this worker."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    device = "" if devices is None else f" cuda:{devices}" if devices else " cpu"
    return socket.gethostname() + device


def last_error(output: str) -> str:
    """Return the stage's own error message with the reasons indented below it, or else the last line."""
    lines = [line for line in output.splitlines() if line.strip()]
    own = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    if not own:
        return (lines or ["it printed nothing"])[-1]
    said, *rest = lines[own[-1] :]
    reasons = "; ".join(line.strip() for line in takewhile(lambda line: line.startswith("  "), rest))
    return " ".join(filter(None, [said.removeprefix("error: "), reasons]))
