"""`cure grid` as a command; what it needs is imported when it runs."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cure.errors import UserError
from cure.runtime.terminal import INTERRUPTED

Folder = Annotated[Path, typer.Argument(help="A pipeline folder, such as quickstart.")]
Workers = Annotated[int | None, typer.Option(min=1, help="How many; default: one for each GPU, or share of the cores.")]
Devices = Annotated[
    str | None, typer.Option(help="Each worker's CUDA_VISIBLE_DEVICES, by commas, in turn: 0,1; default: every GPU.")
]
Cluster = Annotated[str | None, typer.Option(help="A Dask scheduler, tcp://HOST:8786, whose workers see this folder.")]
Slurm = Annotated[str | None, typer.Option(help="A partition; --workers jobs are kept running there.")]
Retries = Annotated[int, typer.Option(min=0, help="How often a stage is started again after something killed it.")]


def grid(
    folder: Folder = Path(),
    workers: Workers = None,
    device_per_worker: Devices = None,
    cluster: Cluster = None,
    slurm: Slurm = None,
    retries: Retries = 3,
) -> None:
    """`dvc repro` of FOLDER on many workers: processes of this machine, of a Dask cluster, or SLURM jobs.

    Every stage starts as soon as what it needs is done; dvc.lock ends as a serial run leaves it. A worker that dies
    costs an epoch; whatever happens to this command, the same command goes on. Exit codes: 0; 1 a stage failed, the
    others behind it were skipped; 2 refused; 130 interrupted. Needs `uv sync --extra grid`.
    """
    if not (find_spec("dask_jobqueue") and find_spec("distributed")):
        raise UserError("cure grid: Dask is not installed; `uv sync --extra grid`")
    from cure.pipeline.grid.command import reproduce
    from cure.pipeline.grid.workers import Asked

    devices = [name.strip() for name in device_per_worker.split(",")] if device_per_worker else []
    try:
        code = reproduce(folder, Asked(workers, devices, cluster, slurm, retries))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is finished", file=sys.stderr)
        code = INTERRUPTED
    raise typer.Exit(code)
