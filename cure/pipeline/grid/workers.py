"""Connect to the workers: processes of this machine, the workers of a running Dask cluster, or SLURM jobs."""

import contextlib
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Nanny, Security, SpecCluster
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cure.errors import UserError
from cure.pipeline.grid.jobs import slurm_workers
from cure.pipeline.grid.nodes import Scheduler, Worker, closing
from cure.pipeline.grid.options import WorkerOptions
from cure.pipeline.grid.slurm import Pool

CONNECT_TIMEOUT = "30s"
IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # the driver ends its workers at Ctrl-C
MOST_LOSSES = 10**9  # of workers that a task may outlive, for Dask; work.py counts its own


@dataclass
class Workers:
    """A client of Dask and, on SLURM, the jobs of its workers."""

    client: Client
    pools: list[Pool] = field(default_factory=list)

    def pool(self, *, gpu: bool) -> str:
        """Return the name of the pool for stages that need a GPU or no GPU; '' if all workers are one pool."""
        return self.pools[0 if gpu else -1].name if self.pools else ""

    def count(self) -> dict[str, int]:
        """Return the number of workers of each pool."""
        there = [each for each in self._seen() if each["status"] == "running"]
        pools = [pool.name for pool in self.pools] or [""]
        return {
            pool: sum(each["nthreads"] for each in there if not pool or pool in each["resources"]) for pool in pools
        }

    def tend(self, left: dict[str, int]) -> str:
        """Maintain the jobs, given the number of stages left for each pool; return a message about workers, or ''."""
        names = {str(each["name"]) for each in self._seen()}
        for pool in self.pools:
            pool.tend(names, left.get(pool.name, 0))
        said = [(pool.partition, pool.status()) for pool in self.pools]
        if not self.pools and not names:
            return "no worker is connected"
        return "; ".join(f"{name}: {text}" if len(said) > 1 else text for name, text in said if text)

    def _seen(self) -> list[dict[str, Any]]:
        return list(self.client.scheduler_info(n_workers=-1)["workers"].values())


@contextmanager
def connected(options: WorkerOptions, folder: Path, logs: Path) -> Iterator[Workers]:
    """Yield the workers. Those started here end with the block, even in the middle of a stage."""
    with dask.config.set({"distributed.scheduler.allowed-failures": MOST_LOSSES}), contextlib.ExitStack() as stack:
        if options.cluster:
            yield Workers(stack.enter_context(closing(_client(options.cluster))))
        elif options.slurm:
            cluster, pools = stack.enter_context(slurm_workers(options, folder, logs))
            yield Workers(stack.enter_context(closing(Client(cluster))), pools)
        else:
            cluster = stack.enter_context(closing(_local(options, folder)))
            yield Workers(stack.enter_context(closing(Client(cluster))))


def _client(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_TIMEOUT)
    except (OSError, ValueError, TypeError) as problem:  # TypeError: tls:// without certificates
        advice = "`dask scheduler` starts one"
        if address.startswith("tls:"):
            advice = "set its certificates in ~/.config/dask/distributed.yaml under distributed.comm.tls"
        raise UserError(f"--cluster {address}: no Dask scheduler answers ({problem}); {advice}") from None


def _local(options: WorkerOptions, folder: Path) -> SpecCluster:
    """Start processes that each hold one device or a share of the cores; a nanny restarts a process that dies."""
    devices = options.devices or shares(folder, options.workers)
    count = options.workers or len(devices)
    security = Security.temporary()
    tls = {"protocol": "tls://", "security": security}
    common = tls | {
        "nthreads": 1,
        "memory_limit": 0,
        "dashboard": False,
        "worker_class": Worker,
        "silence_logs": logging.CRITICAL,  # a heartbeat that a killed driver interrupts logs an error with a traceback
        "preload": IGNORE_SIGINT,
    }
    workers = {
        i: {"cls": Nanny, "options": {**common, "env": {"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]}}}
        for i in range(count)
    }
    scheduler = {"cls": Scheduler, "options": tls | {"host": "127.0.0.1", "port": 0, "dashboard": False}}
    return SpecCluster(workers=workers, scheduler=scheduler, security=security, silence_logs=logging.ERROR)


def shares(folder: Path, workers: int | None) -> list[str]:
    """Return CUDA_VISIBLE_DEVICES for each worker: GPUs for a stage's processes, or empty for a share of the cores."""
    settings = _run_section(folder)
    each = int(settings.get("processes", 1))
    if settings.get("device") != "cpu" and (gpus := _gpus()):
        return [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)] or [",".join(gpus)]
    cores = len(os.sched_getaffinity(0))
    return [""] * (workers or max(1, cores // (each * int(settings.get("threads", 1)))))


def _run_section(folder: Path) -> dict[str, Any]:
    """Return the section `run` of params.yaml, or {} if there is none, as in another project's pipeline."""
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
