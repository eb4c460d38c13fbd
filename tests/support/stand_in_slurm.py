"""A stand-in for SLURM on this machine: its commands run a job at once, lose it, refuse it or let it wait.

Run as `sbatch`, `squeue` or `scancel`, which `install` writes. The files of its folder decide: `refused` (the error of
sbatch), `refused-at-once` (the same for `sbatch --test-only`), `pending` (the reason for which jobs wait) and `dies`
(jobs end before their script begins).
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.project import ROOT

COMMANDS = ("sbatch", "squeue", "scancel")


class StandIn:
    """The folder of the commands and their jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def env(self, path: str) -> dict[str, str]:
        """Return the environment in which a command finds the stand-in and the site's configuration."""
        site = {"DASK_JOBQUEUE__SLURM__CORES": "1", "DASK_JOBQUEUE__SLURM__MEMORY": "1GB"}
        return site | {"PATH": f"{self.folder / 'bin'}{os.pathsep}{path}"}

    def jobs(self) -> dict[str, psutil.Process]:
        """Return the running jobs, by number."""
        running = {}
        for file in self.folder.glob("*.pid"):
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):
                process = psutil.Process(int(file.read_text()))
                if process.status() != psutil.STATUS_ZOMBIE:
                    running[file.stem] = process
        return running

    def end(self, *jobs: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to every process of these jobs at once, or of all jobs, as SLURM does at a walltime."""
        for process in [
            each for job, top in self.jobs().items() if job in jobs or not jobs for each in (top, *_below(top))
        ]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(how)

    def submitted(self) -> list[str]:
        """Return the scripts of the jobs that were submitted."""
        return [path.read_text() for path in sorted(self.folder.glob("*.sh"))]


def install(folder: Path) -> StandIn:
    """Write the commands into `folder`/bin."""
    (folder / "bin").mkdir(parents=True)
    for name in COMMANDS:
        path = folder / "bin" / name
        path.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.support.stand_in_slurm {folder} {name} "$@"\n'
        )
        path.chmod(0o755)
    return StandIn(folder)


def _below(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _told(folder: Path, name: str) -> str:
    path = folder / name
    return path.read_text() if path.exists() else ""


def _sbatch(folder: Path, words: list[str]) -> None:
    if text := _told(folder, "refused-at-once" if "--test-only" in words else "refused"):
        sys.exit(text)
    if "--test-only" in words:
        return
    number = str(1 + len(list(folder.glob("*.sh"))))
    script = folder / f"{number}.sh"
    shutil.copy(words[-1], script)
    outs = {
        flag: path.replace("%J", number) for flag, path in re.findall("^#SBATCH -([oe]) (.*)", script.read_text(), re.M)
    }
    command = ["bash", "-c", "echo no such module >&2; exit 1"] if _told(folder, "dies") else ["bash", str(script)]
    if not _told(folder, "pending"):
        with Path(outs["o"]).open("w") as out, Path(outs["e"]).open("w") as err:
            env = os.environ | {"SLURM_JOB_ID": number}
            how = {"stdout": out, "stderr": err, "stdin": subprocess.DEVNULL, "start_new_session": True}
            job = subprocess.Popen(command, env=env, **how)
        (folder / f"{number}.pid").write_text(str(job.pid))
    print(number)


def _squeue(folder: Path) -> None:
    if reason := _told(folder, "pending"):
        for script in folder.glob("*.sh"):
            print(f"{script.stem}|PENDING|{reason}")
    for number in StandIn(folder).jobs():
        print(f"{number}|RUNNING|None")


if __name__ == "__main__":
    place, command, *arguments = Path(sys.argv[1]), *sys.argv[2:]
    if command == "sbatch":
        _sbatch(place, arguments)
    elif command == "squeue":
        _squeue(place)
    elif arguments:
        StandIn(place).end(*arguments)
