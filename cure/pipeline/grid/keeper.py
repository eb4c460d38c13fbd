"""Run DVC in a session that ends with its caller: `python -m cure.pipeline.grid.keeper LOG COMMAND...`.

stdin is the lifeline: a pipe that its owner never writes to and that the system closes when the owner dies in any way.
Then the stage that DVC runs is killed, and DVC itself, which may be writing dvc.lock, may finish. All of them ignore
SIGTERM, which a cluster sends to every process of a job: DVC would die while it writes its list of locks.

The log is the lock: every process that the command starts inherits it as stdout, so it is held until the last of them
has ended.
"""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import psutil

POLL_SECONDS = 0.1
GRACE_SECONDS = 20.0  # for DVC to end after its stage was killed; SLURM kills everything 30 s after its SIGTERM


def main(log: str, *command: str) -> int:
    """Run the command and return its exit code.

    If a signal ended it, kill every process of the session, so that no stage runs on alone.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # inherited by DVC and the stage
    with Path(log).open("a") as out:
        while not _locked(out):
            if _owner_is_gone():
                return 1
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        while process.poll() is None:
            if _owner_is_gone():
                _stop(process)
        if process.returncode < 0:
            os.killpg(0, signal.SIGKILL)
        if process.returncode > 0:
            _kill_the_rest()
    return process.returncode


def _locked(out: IO[str]) -> bool:
    """Try to lock the log; an earlier attempt at the stage holds the lock while it runs or ends."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _owner_is_gone() -> bool:
    """Wait a moment and return whether the owner is gone."""
    return bool(select.select([sys.stdin], [], [], POLL_SECONDS)[0])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill what DVC started, repeatedly until DVC has ended; after `GRACE_SECONDS`, kill DVC as well."""
    end = time.monotonic() + GRACE_SECONDS
    with contextlib.suppress(psutil.NoSuchProcess):
        dvc = psutil.Process(process.pid)
        while process.poll() is None and time.monotonic() < end:
            for child in dvc.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            time.sleep(POLL_SECONDS)
    if process.poll() is None:
        process.kill()


def _kill_the_rest() -> None:
    """Kill a stage that DVC considers dead because the shell between them died, so that it does not keep running."""
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if pid != os.getpid() and os.getpgid(pid) == os.getpgrp():
                os.kill(pid, signal.SIGKILL)


def start(log: Path, folder: Path, command: Sequence[str], more: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a keeper of `command` in `folder`; its stdin is the lifeline, which this process holds."""
    line = [sys.executable, "-m", "cure.pipeline.grid.keeper", str(log), *command]
    env = os.environ | more
    return subprocess.Popen(line, cwd=folder, env=env, stdin=subprocess.PIPE, start_new_session=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
