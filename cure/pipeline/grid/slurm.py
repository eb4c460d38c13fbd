"""Keep SLURM jobs of one Dask worker each: submit, watch, resubmit while stages are left, and cancel.

dask-jobqueue writes the job script from the site's configuration. It does not keep jobs well: it resubmits a refused
job forever without a message, and waits without end for a job that died before its worker connected.
"""

import getpass
import re
import shlex
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cure.errors import UserError

ANSWER_SECONDS = 60.0  # limit of SLURM's commands
LOOK_SECONDS = (2.0, 30.0)  # between two queries of the queue: at first, and after a long wait
MOST_DEATHS = 3  # submissions in a row whose jobs end before a worker connects
RETRY_SECONDS = 30.0  # before the next job after a refused one
RESERVE_SECONDS = 120.0  # of the walltime, for a job to start its worker and to end it
STAGGER_SECONDS = 600.0  # over which the ends of jobs that start together are spread
ENDED = re.compile(r"COMPLET|FAILED|TIMEOUT|CANCELLED|NODE_FAIL|BOOT_FAIL|DEADLINE|OUT_OF_MEMORY")
WALLTIME = re.compile(r"^#SBATCH +(?:-t|--time)[ =]?(\S+)", re.MULTILINE)
TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


@dataclass
class Pool:
    """The jobs of one partition; their workers are named NAME-JOB."""

    name: str
    partition: str
    wanted: int
    script: Path
    output: str  # the file of a job's errors, with %J for its number
    arrived: set[str] = field(default_factory=set)  # names of all workers that ever connected
    jobs: dict[str, str] = field(default_factory=dict)  # number -> its state in the queue
    here: set[str] = field(default_factory=set)  # jobs whose worker is connected
    came: set[str] = field(default_factory=set)  # jobs whose worker ever connected
    deaths: int = 0
    trouble: str = ""
    _look_at: float = 0.0
    _submit_at: float = 0.0
    _changed_at: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise UserError for a script that SLURM would not accept."""
        _command("sbatch", "--test-only", str(self.script), option=f"--slurm {self.partition}")

    def tend(self, workers: set[str], left: int) -> None:
        """Record workers that connected and jobs that ended; submit jobs, at most one for each stage that is left."""
        here = {job for job in self.jobs if f"{self.name}-{job}" in workers}
        if here != self.here:
            self._changed()
        came = {job for job in self.jobs if f"{self.name}-{job}" in self.arrived}
        if came - self.came:
            self.deaths, self.trouble = 0, ""
        self.here, self.came = here, self.came | came
        if self.jobs.keys() - here and time.monotonic() >= self._look_at:
            self._look()
        while len(self.jobs) < min(self.wanted, left) and time.monotonic() >= self._submit_at:
            self._submit()

    def status(self) -> str:
        """Return how many workers are connected and why the others are not, or '' if all are."""
        absent = defaultdict[str, list[str]](list)
        for job, said in self.jobs.items():
            if job not in self.here:
                absent[said].append(job)
        jobs = [f"job{'s' * (len(ids) > 1)} {', '.join(ids)} {said}" for said, ids in absent.items()]
        if not jobs and not self.trouble:
            return ""
        return "; ".join([f"{len(self.here)} of {self.wanted} workers", *jobs, *filter(None, [self.trouble])])

    def cancel(self) -> None:
        """Cancel all jobs."""
        if self.jobs:
            subprocess.run(["scancel", *self.jobs], capture_output=True, check=False, start_new_session=True)
            self.jobs = {}

    def _submit(self) -> None:
        try:
            said = _command("sbatch", "--parsable", str(self.script), option=f"--slurm {self.partition}")
        except UserError as refusal:
            if not (self.jobs or self.came):
                raise
            self.trouble, self._submit_at = str(refusal), time.monotonic() + RETRY_SECONDS
            return
        self.jobs[said.partition(";")[0].strip()] = "submitted"
        self._changed()

    def _look(self) -> None:
        """Query the queue for the jobs without a connected worker; forget those that ended."""
        try:
            listed = _command("squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%T|%r")
        except UserError as silence:
            self.trouble, self._look_at = str(silence), time.monotonic() + LOOK_SECONDS[1]
            return
        known = dict(line.strip().split("|", 1) for line in listed.splitlines() if "|" in line)
        gone = [job for job in self.jobs if job not in self.here and ENDED.match(known.get(job, "COMPLETED"))]
        for job in gone:
            del self.jobs[job]
        for job in self.jobs:
            state, _, reason = known.get(job, "").partition("|")
            said = f"{state.lower()} ({reason})" if reason not in ("", "None") else state.lower()
            self.jobs[job] = "starting" if state == "RUNNING" else said
        if died := [job for job in gone if job not in self.came]:
            self._died(died[-1])
        waited = time.monotonic() - self._changed_at
        self._look_at = time.monotonic() + min(max(LOOK_SECONDS[0], waited / 10), LOOK_SECONDS[1])

    def _died(self, job: str) -> None:
        """Record why a job ended before its worker connected; give up after `MOST_DEATHS` if no worker is connected."""
        self.deaths += 1
        path = Path(self.output.replace("%J", job))
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        self.trouble = f"job {job} ended before its worker connected: {last} (its output: {path})"
        if self.deaths >= MOST_DEATHS and not self.here:
            raise UserError(f"--slurm {self.partition}: {self.trouble}; {self.deaths} submissions in a row ended so")
        self._submit_at = time.monotonic() + min(2.0 ** (self.deaths - 1), RETRY_SECONDS)
        self._changed()

    def _changed(self) -> None:
        self._changed_at = time.monotonic()
        self._look_at = self._changed_at + LOOK_SECONDS[0]


def _command(*words: str, option: str = "--slurm") -> str:
    """Run a command of SLURM and return its output; raise UserError with its errors. Ctrl-C does not reach it."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS, start_new_session=True
        )
    except FileNotFoundError:
        raise UserError(
            f"{option}: {words[0]} is not on this machine; run cure grid where SLURM jobs are submitted"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{option}: {words[0]} did not answer within {ANSWER_SECONDS:.0f} seconds; check SLURM and rerun to resume"
        ) from None
    if done.returncode:
        lines = [line.removeprefix(f"{words[0]}: ").removeprefix("error: ") for line in done.stderr.splitlines()]
        said = "; ".join(filter(None, lines)) or f"exit code {done.returncode}"
        raise UserError(f"{option}: {words[0]}: {said}")
    return done.stdout


def lifetime(script: str) -> list[str]:
    """Return options that end a worker before its walltime, some earlier than others; none without a walltime."""
    limits = [seconds for limit in WALLTIME.findall(script) if (seconds := _seconds(limit))]
    if not limits:
        return []
    reserve, stagger = min(RESERVE_SECONDS, limits[-1] / 5), min(STAGGER_SECONDS, limits[-1] / 10)
    return ["--lifetime", f"{limits[-1] - reserve - stagger:.0f}s", "--lifetime-stagger", f"{stagger:.0f}s"]


def _seconds(limit: str) -> int | None:
    """Convert SLURM's [days-]hours:minutes:seconds and its short forms to seconds; None for other text."""
    found = TIME.fullmatch(limit)
    if not found:
        return None
    parts = [int(part) for part in found["rest"].split(":")]
    if found["days"]:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, minutes, seconds = ([0, *parts, 0] if len(parts) == 1 else [0, *parts])[-3:]
    return ((int(found["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def quoted(words: Sequence[object]) -> list[str]:
    """Quote the words for the shell of a job script; dask-jobqueue joins them with spaces."""
    return [shlex.quote(str(word)) for word in words]
