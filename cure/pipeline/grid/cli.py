"""Declare the command `cure grid`. Heavy imports wait until it runs."""

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cure.errors import UserError
from cure.runtime.terminal import interrupted
from cure.settings.bounds import COUNTS

MOST_WORKERS = 1024  # each is a process or a job of its own

Folder = Annotated[Path, typer.Argument(help="A pipeline folder, such as quickstart.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, max=MOST_WORKERS, help="Number of workers; default: one for each GPU, or for each share of the cores."
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(help="CUDA_VISIBLE_DEVICES of each worker, in turn, separated by commas: 0,1; default: every GPU."),
]
Cluster = Annotated[
    str | None,
    typer.Option(help="Address of a Dask scheduler whose workers share this folder: tls://HOST:8786, or tcp://."),
]
Slurm = Annotated[str | None, typer.Option(help="SLURM partition on which --workers jobs are kept running.")]
CpuPartition = Annotated[
    str | None,
    typer.Option(help="A second SLURM partition, for the stages that dvc.yaml marks with meta: {gpu: false}."),
]
CpuWorkers = Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Number of jobs on --cpu-partition.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the job scripts of --slurm and stop.")]
Retries = Annotated[
    int,
    typer.Option(
        min=0, max=COUNTS - 1, help="How often a stage is restarted that was killed before it did a new step."
    ),
]


def grid(
    folder: Folder = Path(),
    workers: Workers = None,
    device_per_worker: Devices = None,
    cluster: Cluster = None,
    slurm: Slurm = None,
    cpu_partition: CpuPartition = None,
    cpu_workers: CpuWorkers = 1,
    retries: Retries = 3,
    dry_run: DryRun = False,
) -> None:
    """Run `dvc repro` of FOLDER on many workers: processes of this machine, of a Dask cluster, or SLURM jobs.

    Each stage starts as soon as the stages that it needs are done. dvc.lock is the same as after a serial run. A worker
    that dies costs an epoch. Rerun to resume after an interruption. Exit codes: 0 all stages are up to date; 1 a stage
    failed, and those that depend on it were skipped; 2 wrong input; 130 interrupted. Needs `uv sync --extra grid`.
    """
    if not (find_spec("dask_jobqueue") and find_spec("distributed")):
        raise UserError("cure grid: Dask is not installed; `uv sync --extra grid`")
    _refuse_wrong_site_configuration()
    from cure.pipeline.grid.command import print_scripts, reproduce
    from cure.pipeline.grid.options import WorkerOptions

    devices = [name.strip() for name in device_per_worker.split(",")] if device_per_worker else []
    options = WorkerOptions(workers, devices, cluster, slurm, retries, cpu_partition, cpu_workers)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that jobs are cancelled
    try:
        code = print_scripts(folder, options) if dry_run else reproduce(folder, options)
    except KeyboardInterrupt:
        interrupted()
    raise typer.Exit(code)


def _refuse_wrong_site_configuration() -> None:
    """Import Dask, which reads every file of its configuration at once."""
    try:
        import dask  # noqa: F401
    except ValueError as problem:
        raise UserError(f"cure grid: {' '.join(str(problem).split())}") from None
