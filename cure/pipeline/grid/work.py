"""One stage on one worker: `dvc repro -s STAGE`, again if something killed it."""

import os
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distributed import Reschedule, Status, get_worker

from cure.pipeline.grid import keeper
from cure.runtime import progress

POLL_SECONDS = 0.2  # seconds between two looks
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")  # DVC about a process of somebody else
KILLED = re.compile(r"exited with (?:-\d+|1[3-9]\d)\b|failed \(exitcode: -\d+\)")
"""What DVC says about a stage that a signal ended, and torchrun about one of its processes."""


@dataclass(frozen=True)
class Job:
    """A stage, the folder of its dvc.yaml, where it logs its progress, and how often it is retried."""

    stage: str
    folder: Path
    log: Path
    progress: Path
    retries: int


class Failed(Exception):
    """A stage that ended with an error; what it said last."""


def run(job: Job) -> None:
    """Reproduce the stage on this worker. A stage that was killed goes on from its resume file."""
    if not job.folder.is_dir():
        raise Failed(
            f"{job.folder} is not on {socket.gethostname()}; workers share the folder, or have clones of their own"
        )
    wanted = _wanted()
    for _ in range(1 + job.retries):
        while True:
            code, said = _attempt(job, wanted)
            if code == 0:
                return
            if not any(line in said for line in BUSY):
                break
            time.sleep(1)
        if code > 0 and not KILLED.search(said):
            raise Failed(_reason(said))
    raise Failed(f"killed {1 + job.retries} times")


def _attempt(job: Job, wanted: Callable[[], bool]) -> tuple[int, str]:
    """The exit code of one `dvc repro` and what it added to the log."""
    with job.log.open("a"):
        start = job.log.stat().st_size
    progress.append(job.progress, {"worker": _place(), "time": time.time()})
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", job.stage]
    with keeper.start(job.log, job.folder, command, {progress.FILE: str(job.progress), "PATH": path}) as process:
        while process.poll() is None and wanted():
            time.sleep(POLL_SECONDS)
    if not wanted():
        raise Reschedule
    with job.log.open("rb") as log:
        log.seek(start)
        return process.returncode, log.read().decode(errors="replace")


def _wanted() -> Callable[[], bool]:
    """Whether the worker still works and the driver still asks: Dask drops the tasks of a driver that is gone."""
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        asked = task is not None and task.state == "executing"
        return asked and worker.status in (Status.running, Status.paused)

    return wanted


def _place() -> str:
    """The host, and the device that its worker was given."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    device = "" if devices is None else f" cuda:{devices}" if devices else " cpu"
    return socket.gethostname() + device


def _reason(said: str) -> str:
    """The stage's own last word, or DVC's."""
    lines = [line for line in said.splitlines() if line.strip()]
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (own or lines or ["it said nothing"])[-1]
