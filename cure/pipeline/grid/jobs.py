"""Write the job scripts of SLURM workers: dask-jobqueue's, by the site's configuration, with TLS and an orderly end."""

import logging
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import distributed
from distributed import Security, SpecCluster

from cure.errors import UserError
from cure.pipeline.grid import nodes, slurm
from cure.pipeline.grid.nodes import Arrivals, closing
from cure.pipeline.grid.options import WorkerOptions
from cure.pipeline.grid.slurm import Pool
from cure.runtime.device import WITHOUT_GPU

SITE_CONFIG = "~/.config/dask/jobqueue.yaml"
SECTION, CPU_SECTION = "slurm", "slurm-cpu"  # of jobqueue; the first is the default of the second
OWN_PAGE = {"dashboard", "dashboard_address"}  # among the site's scheduler options
TLS = ("ca_file", "cert", "key")
UNTIL_THE_WORKER_ENDS = "trap : TERM"
"""Keep the job until its worker has ended, although SLURM sends SIGTERM to all of its processes at once."""


@contextmanager
def slurm_workers(options: WorkerOptions, folder: Path, logs: Path) -> Iterator[tuple[SpecCluster, list[Pool]]]:
    """Start a scheduler; yield it with the pools of jobs, whose scripts SLURM accepts; cancel the jobs at the end.

    Scheduler and workers authenticate by a certificate of this call. Its files are in a folder that the jobs share and
    only this user can read. The folder is deleted at the end.
    """
    _jobqueue()
    security = Security.temporary()
    with tempfile.TemporaryDirectory(prefix="private-", dir=logs.parent, ignore_cleanup_errors=True) as private:
        paths = {name: Path(private) / name for name in TLS}
        for name, text in security.get_tls_config_for_role("worker").items():
            if name in paths:
                paths[name].write_text(text)
        with closing(_scheduler(security)) as cluster:
            address = cluster.scheduler.contact_address or cluster.scheduler.address
            cluster.scheduler.add_plugin(arrivals := Arrivals())
            pools = []
            for pool, text in _pools(options, folder, logs, address, paths):
                pool.arrived = arrivals.names
                pool.script = Path(private) / f"{pool.name}.sh"
                pool.script.write_text(text)
                pools.append(pool)
            for pool in pools:
                pool.check()
            try:
                yield cluster, pools
            finally:
                for pool in pools:
                    pool.cancel()


def dry_run(options: WorkerOptions, folder: Path, logs: Path) -> list[str]:
    """Return the job script of each pool, with placeholders for values that are known only at submission."""
    _jobqueue()
    paths = {name: Path("PRIVATE", name) for name in TLS}
    return [text for _, text in _pools(options, folder, logs, "tls://SCHEDULER:PORT", paths)]


def _pools(
    options: WorkerOptions, folder: Path, logs: Path, address: str, tls: dict[str, Path]
) -> Iterator[tuple[Pool, str]]:
    """Yield each pool with its job script: first the one for stages that need a GPU."""
    site = _section(SECTION)
    kinds = [("gpu", options.slurm, options.workers or 1, site)]
    if options.cpu_partition:
        no_gpus = [line for line in site["job-extra-directives"] if "gpu" not in line]
        site = site | {"job-extra-directives": no_gpus} | _section(CPU_SECTION)
        kinds.append(("cpu", options.cpu_partition, options.cpu_workers, site))
    for name, partition, count, section in kinds:
        assert partition
        prologue = [f"export {WITHOUT_GPU}=1"] * (name == "cpu")
        extra = ["--no-dashboard", "--resources", f"{name}=1", "--worker-class", f"{nodes.__name__}.Worker"]
        for each, path in tls.items():
            extra += [f"--tls-{each.replace('_', '-')}", *slurm.quoted([path])]
        with dask.config.set({f"jobqueue.{name}": section}):
            job = _job(name, address, partition, f"cure-{folder.resolve().name}", str(logs), prologue, extra)
            if "--lifetime" not in section["worker-extra-args"]:
                ends = slurm.lifetime(job.job_script())
                job = _job(name, address, partition, job.job_name, str(logs), prologue, extra + ends)
        output = f"{job.log_directory}/{job.job_name}-%J.err"
        yield Pool(name, partition, count, Path(), output), job.job_script()


def _job(
    name: str, address: str, partition: str, job_name: str, logs: str, prologue: list[str], extra: list[str]
) -> Any:
    section = dask.config.get(f"jobqueue.{name}")
    if missing := [key for key in ("cores", "memory") if not section[key]]:
        raise UserError(
            f"--slurm: {' and '.join(missing)} of a job: not found; write it into {SITE_CONFIG}: jobqueue: slurm: "
            "{cores: 4, memory: 32GB}"
        )
    try:
        return _jobqueue().SLURMJob(
            address,
            name=f"{name}-$SLURM_JOB_ID",
            queue=partition,
            processes=1,
            nanny=False,
            job_name=job_name,
            log_directory=section["log-directory"] or logs,
            job_script_prologue=[*section["job-script-prologue"], *prologue, UNTIL_THE_WORKER_ENDS],
            worker_extra_args=[*section["worker-extra-args"], "--nthreads", "1", *extra],
            config_name=name,
        )
    except (ValueError, TypeError, AttributeError) as problem:
        raise UserError(
            f"--slurm: a value in {SITE_CONFIG}, section jobqueue.{SECTION}, is wrong: {str(problem).splitlines()[0]}"
        ) from None


def _section(name: str) -> dict[str, Any]:
    """Return a section of the site's configuration, in which - and _ are equal, as everywhere in Dask."""
    found = dask.config.get(f"jobqueue.{name}", {})
    if not isinstance(found, dict):
        raise UserError(f"--slurm: section jobqueue.{name} of {SITE_CONFIG} should be a mapping; found {found!r}")
    return {key.replace("_", "-"): value for key, value in found.items()}


def _jobqueue() -> Any:
    """Import dask-jobqueue, which brings its settings' defaults, and restore signals, since it disables Ctrl-C."""
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    import dask_jobqueue.slurm

    for each, handler in handlers.items():
        signal.signal(each, handler)
    return dask_jobqueue.slurm


def _scheduler(security: Security) -> SpecCluster:
    """Start a scheduler with the site's options; without a web page, unless the site configures one."""
    site = _section(SECTION)
    options = {"protocol": "tls://", "security": security, "dashboard": False, **site["scheduler-options"]}
    if not options.keys() & {"host", "interface"}:
        options["interface"] = site["interface"]
    cls = distributed.Scheduler if OWN_PAGE & site["scheduler-options"].keys() else nodes.Scheduler
    scheduler = {"cls": cls, "options": options}
    return SpecCluster(scheduler=scheduler, security=security, silence_logs=logging.ERROR)
