"""The workers: processes of this machine, the workers of a running Dask cluster, or SLURM jobs."""

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cure.errors import UserError

CONNECT_TIMEOUT = "30s"
IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # the driver ends its workers at Ctrl-C
SITE_CONFIG = "~/.config/dask/jobqueue.yaml"


@dataclass(frozen=True)
class WorkerOptions:
    """The options of the command line about workers."""

    workers: int | None
    devices: list[str]
    cluster: str | None
    slurm: str | None
    retries: int

    def __post_init__(self) -> None:
        remote = [f"--{name}" for name in ("cluster", "slurm") if getattr(self, name)]
        if len(remote) > 1:
            raise UserError("--cluster and --slurm: name one of them")
        if remote and self.devices:
            raise UserError(
                f"--device-per-worker: only for workers of this machine; with {remote[0]} each worker has its own"
            )
        if self.cluster and self.workers:
            raise UserError("--workers: not with --cluster, which has workers of its own; start more of them there")


@contextmanager
def connected(options: WorkerOptions, folder: Path, logs: Path) -> Iterator[Client]:
    """Yield a client of the workers; those started here end with the block, also in the middle of a stage."""
    with dask.config.set({"distributed.scheduler.allowed-failures": options.retries}):
        if options.cluster:
            with _client(options.cluster) as client:
                yield client
            return
        with _slurm(options, logs) if options.slurm else _local(options, folder) as cluster, _client(cluster) as client:
            yield client


def _client(where: Any) -> Client:
    try:
        return Client(where, timeout=CONNECT_TIMEOUT)
    except (OSError, ValueError) as problem:
        raise UserError(
            f"--cluster {where}: no Dask scheduler answers ({problem}); `dask scheduler` starts one"
        ) from None


def _local(options: WorkerOptions, folder: Path) -> SpecCluster:
    """Start processes that each hold one device or a share of the cores; a nanny restarts a process that dies."""
    devices = options.devices or shares(folder, options.workers)
    count = options.workers or len(devices)
    common = {
        "nthreads": 1,
        "memory_limit": 0,
        "dashboard": False,
        "silence_logs": logging.ERROR,
        "preload": IGNORE_SIGINT,
    }
    workers = {
        i: {"cls": Nanny, "options": {**common, "env": {"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]}}}
        for i in range(count)
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR)


def shares(folder: Path, workers: int | None) -> list[str]:
    """Return CUDA_VISIBLE_DEVICES for each worker: GPUs for a stage's processes, or empty for a share of the cores."""
    settings = _run_section(folder)
    each = int(settings.get("processes", 1))
    if settings.get("device") != "cpu" and (gpus := _gpus()):
        return [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)] or [",".join(gpus)]
    cores = len(os.sched_getaffinity(0))
    return [""] * (workers or max(1, cores // (each * int(settings.get("threads", 1)))))


def _run_section(folder: Path) -> dict[str, Any]:
    """Return the section `run` of params.yaml; another project's pipeline may have none."""
    try:
        found: dict[str, Any] = YAML(typ="safe").load((folder / "params.yaml").read_text("utf-8")).get("run", {})
    except (OSError, ValueError, YAMLError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(i) for i, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def _slurm(options: WorkerOptions, logs: Path) -> SpecCluster:
    """Submit jobs of one worker each, again if one ends. Site-specific options go in `SITE_CONFIG`."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    from dask_jobqueue.slurm import SLURMCluster

    signal.signal(signal.SIGINT, on_interrupt)  # the import makes Ctrl-C a silent success
    extra = [*dask.config.get("jobqueue.slurm.worker-extra-args", []), "--nthreads", "1"]
    try:
        cluster = SLURMCluster(
            queue=options.slurm,
            processes=1,
            worker_extra_args=extra,
            log_directory=str(logs),
            silence_logs=logging.ERROR,
            scheduler_options={"dashboard": False},
        )
    except ValueError as problem:
        raise UserError(
            f"--slurm: {str(problem).splitlines()[0]} Write it into {SITE_CONFIG}, section jobqueue.slurm"
        ) from None
    count = options.workers or 1
    cluster.adapt(minimum_jobs=count, maximum_jobs=count)
    return cluster
