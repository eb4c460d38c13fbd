"""Who works: processes of this machine, the workers of a running Dask cluster, or SLURM jobs."""

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

PATIENCE = "30s"  # for a cluster to answer
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C is the driver's, who ends its workers
SITE = "~/.config/dask/jobqueue.yaml"


@dataclass(frozen=True)
class Asked:
    """What the command line says about workers."""

    workers: int | None
    devices: list[str]
    cluster: str | None
    slurm: str | None
    retries: int

    def __post_init__(self) -> None:
        elsewhere = [f"--{name}" for name in ("cluster", "slurm") if getattr(self, name)]
        if len(elsewhere) > 1:
            raise UserError("--cluster and --slurm: name one of them")
        if elsewhere and self.devices:
            raise UserError(
                f"--device-per-worker: is for workers of this machine; with {elsewhere[0]} each has its own"
            )
        if self.cluster and self.workers:
            raise UserError("--workers: with --cluster it is the cluster that says how many; start more workers there")


@contextmanager
def connected(asked: Asked, folder: Path, logs: Path) -> Iterator[Client]:
    """A client of the workers. Those that were started here end with the block, whatever they are at."""
    with dask.config.set({"distributed.scheduler.allowed-failures": asked.retries}):
        if asked.cluster:
            with _client(asked.cluster) as client:
                yield client
            return
        with _slurm(asked, logs) if asked.slurm else _local(asked, folder) as cluster, _client(cluster) as client:
            yield client


def _client(where: Any) -> Client:
    try:
        return Client(where, timeout=PATIENCE)
    except (OSError, ValueError) as problem:
        raise UserError(
            f"--cluster {where}: no Dask scheduler answers ({problem}); `dask scheduler` starts one"
        ) from None


def _local(asked: Asked, folder: Path) -> SpecCluster:
    """Processes that each hold one device, or a share of the cores; a nanny starts another one for each that dies."""
    devices = asked.devices or shares(folder, asked.workers)
    count = asked.workers or len(devices)
    options = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": logging.ERROR, "preload": DEAF}
    workers = {
        i: {"cls": Nanny, "options": {**options, "env": {"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]}}}
        for i in range(count)
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR)


def shares(folder: Path, workers: int | None) -> list[str]:
    """What CUDA_VISIBLE_DEVICES is for each worker: a GPU for each process of a stage, or nothing, as cores allow."""
    run = _run(folder)
    each = int(run.get("processes", 1))
    if run.get("device") != "cpu" and (gpus := _gpus()):
        return [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)] or [",".join(gpus)]
    cores = len(os.sched_getaffinity(0))
    return [""] * (workers or max(1, cores // (each * int(run.get("threads", 1)))))


def _run(folder: Path) -> dict[str, Any]:
    """The section `run` of params.yaml; another project's pipeline may have none."""
    try:
        found: dict[str, Any] = YAML(typ="safe").load((folder / "params.yaml").read_text()).get("run", {})
    except (OSError, YAMLError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(i) for i, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def _slurm(asked: Asked, logs: Path) -> SpecCluster:
    """Jobs of one worker each; a job that ends is submitted again. What a site asks for stands in its jobqueue.yaml."""
    interrupted = signal.getsignal(signal.SIGINT)
    from dask_jobqueue.slurm import SLURMCluster

    signal.signal(signal.SIGINT, interrupted)  # the import makes Ctrl-C a silent success
    extra = [*dask.config.get("jobqueue.slurm.worker-extra-args", []), "--nthreads", "1"]
    try:
        cluster = SLURMCluster(
            queue=asked.slurm,
            processes=1,
            worker_extra_args=extra,
            log_directory=str(logs),
            silence_logs=logging.ERROR,
            scheduler_options={"dashboard": False},
        )
    except ValueError as problem:
        raise UserError(
            f"--slurm: {str(problem).splitlines()[0]} Write it into {SITE}, section jobqueue.slurm"
        ) from None
    count = asked.workers or 1
    cluster.adapt(minimum_jobs=count, maximum_jobs=count)
    return cluster
