"""One stage on one worker: `dvc repro -s STAGE`, again if something killed it."""

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
from cure.pipeline.grid import keeper
from cure.runtime import progress

POLL_SECONDS = 0.2
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")
"""Printed by DVC while another process holds its lock."""
KILLED = re.compile(r"exited with (?:-\d+|1[3-9]\d)\b|failed \(exitcode: -\d+\)")
"""Printed by DVC about a stage that a signal ended, and by torchrun about one of its processes."""


@dataclass(frozen=True)
class Job:
    """A stage, the folder of its dvc.yaml, the files of its output and its progress, and how often it is retried."""

    stage: str
    folder: Path
    log: Path
    progress: Path
    retries: int


class StageFailed(Exception):
    """A stage ended with an error, whose last line is the text."""


def run(job: Job) -> None:
    """Reproduce the stage on this worker. A stage that was killed continues from its resume file."""
    if not job.folder.is_dir():
        raise StageFailed(
            f"{job.folder} is not on {socket.gethostname()}; workers share the folder, or have clones of their own"
        )
    needed = _still_needed()
    for _ in range(1 + job.retries):
        while True:
            code, output = _attempt(job, needed)
            if code == 0:
                return
            if not any(line in output for line in BUSY):
                break
            time.sleep(1)
        if code > 0 and not KILLED.search(output):
            raise StageFailed(last_error(output))
    raise StageFailed(f"killed {1 + job.retries} times")


def _attempt(job: Job, needed: Callable[[], bool]) -> tuple[int, str]:
    """Return the exit code of one `dvc repro` and the output that it added to the log."""
    with job.log.open("a"):
        start = job.log.stat().st_size
    progress.append(job.progress, {"worker": _worker_name(), "time": time.time()})
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", job.stage]
    with keeper.start(
        job.log, job.folder, command, {progress.FILE: str(job.progress), "PATH": search_path()}
    ) as process:
        while process.poll() is None and needed():
            time.sleep(POLL_SECONDS)
    if not needed():
        raise Reschedule
    with job.log.open("rb") as log:
        log.seek(start)
        return process.returncode, log.read().decode(errors="replace")


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
    """Return the host and the device that its worker was given."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    device = "" if devices is None else f" cuda:{devices}" if devices else " cpu"
    return socket.gethostname() + device


def last_error(output: str) -> str:
    """Return the stage's own error message with its reasons, which stand indented below it, or else the last line."""
    lines = [line for line in output.splitlines() if line.strip()]
    own = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    if not own:
        return (lines or ["it printed nothing"])[-1]
    said, *rest = lines[own[-1] :]
    reasons = "; ".join(line.strip() for line in takewhile(lambda line: line.startswith("  "), rest))
    return " ".join(filter(None, [said.removeprefix("error: "), reasons]))
