"""`cure grid --slurm` where SLURM loses jobs, refuses them or lets them wait; a stand-in takes the place of SLURM."""

import re
import signal
import socket
import stat
import time

import pytest
from distributed import Client, Security

from cure.pipeline.grid import attempts
from tests.support.grid_project import equal, gone, resumable, until
from tests.support.stand_in_slurm import install


@pytest.fixture
def slurm(project):
    return install(project.aside / "slurm")


@pytest.fixture
def grid(project, slurm, monkeypatch):
    """Start `cure grid --slurm` with these words."""
    for name, value in slurm.env(project.env["PATH"]).items():
        monkeypatch.setenv(name, value)
    return lambda *words: project.started("--slurm", "gpus", *words)


def test_the_same_in_jobs_of_the_partition_and_what_they_trust_is_private(project, serial, slurm, grid):
    project.hold("train-a")
    with grid("--workers", "2") as driver:
        until(lambda: resumable(project))
        address = re.search(r" (tls://\S+) ", slurm.submitted()[0])[1]
        with pytest.raises(OSError, match=r"Timed out|certificate does not match"):
            Client(address, security=Security.temporary(), timeout="2s")  # a stranger's
        private = next((project.root / ".dvc/tmp/grid").glob("private-*"))
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        project.release("train-a")
        assert driver.wait(timeout=300) == 0, project.output
    assert "4 done" in project.output
    script = slurm.submitted()[0]
    assert "#SBATCH -p gpus" in script
    assert "#SBATCH -J cure-project" in script
    ends = "--lifetime 1500s --lifetime-stagger 180s"  # of half an hour, dask-jobqueue's default
    assert re.search(rf" tls://\S+ .*--nthreads 1 .*--tls-key \S+ .*{ends}$", script, re.MULTILINE)
    assert equal(project, serial)
    until(lambda: not slurm.jobs())
    assert not private.exists()


def test_when_all_jobs_end_at_once_in_mid_stage_it_goes_on_and_leaves_the_serial_bytes(project, serial, slurm, grid):
    project.hold("train-a")
    with grid("--workers", "2", "--retries", "0") as driver:
        for round_ in range(1, 4):
            until(
                lambda round_=round_: project.said("train-a").count("starts") == round_ and resumable(project), driver
            )
            _, stage = project.book("train-a")[-1]
            slurm.end()
            until(lambda stage=stage: gone(stage))
        until(lambda: project.said("train-a").count("starts") == 4, driver)
        project.release("train-a")
        assert driver.wait(timeout=300) == 0, project.output
    assert project.said("train-a") == ["starts", "step-1", *["starts"] * 3, "step-2", "step-3", "ends"]
    assert len(attempts.read(project.root / ".dvc/tmp/grid/logs/prepare.progress")) == 1  # not again with its worker
    assert equal(project, serial)
    assert "failed" not in project.output


@pytest.mark.parametrize("file", ["refused-at-once", "refused"])
def test_a_job_that_is_refused_is_one_line_at_once(project, slurm, grid, file):
    (slurm.folder / file).write_text("sbatch: error: invalid partition specified: gpus\n")
    start = time.monotonic()
    with grid() as driver:
        assert driver.wait(timeout=60) == 2
    assert project.output.splitlines()[-1] == "error: --slurm gpus: sbatch: invalid partition specified: gpus"
    assert "Traceback" not in project.output
    assert time.monotonic() - start < 30


def test_without_slurm_it_is_one_line(project, grid, monkeypatch):
    monkeypatch.setenv("PATH", str(project.aside / "nothing"))
    with grid() as driver:
        assert driver.wait(timeout=60) == 2
    assert project.output.splitlines()[-1].startswith("error: --slurm gpus: sbatch is not on this machine")


def test_jobs_that_die_before_their_worker_comes_are_told_with_their_last_line(project, slurm, grid):
    (slurm.folder / "dies").write_text("yes")
    with grid() as driver:
        assert driver.wait(timeout=120) == 2
    first, *_, last = [line for line in project.output.splitlines() if "before its worker connected" in line]
    log = project.root / ".dvc/tmp/grid/logs"
    assert (
        first == "0 of 1 workers; job 1 ended before its worker connected: no such module "
        f"(its output: {log}/cure-project-1.err)"
    )
    assert last.startswith("error: --slurm gpus: job 3 ended before its worker connected: no such module (its output:")
    assert len(slurm.submitted()) == 3


def test_jobs_that_wait_are_shown_with_the_reason_and_ctrl_c_exits_with_130(project, slurm, grid):
    (slurm.folder / "pending").write_text("PartitionConfig")
    with grid("--workers", "2") as driver:
        until(lambda: "0 of 2 workers; jobs 1, 2 pending (PartitionConfig)" in project.output)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=60) == 130
    assert project.output.splitlines()[-1] == "interrupted; rerun to resume"


def test_the_sites_log_folder_and_scheduler_options_are_kept(project, serial, slurm, grid, monkeypatch):
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__LOG_DIRECTORY", str(project.aside / "logs"))
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__SCHEDULER_OPTIONS", str({"port": port}))
    with grid() as driver:
        assert driver.wait(timeout=300) == 0, project.output
    script = slurm.submitted()[0]
    assert f":{port} --name gpu-$SLURM_JOB_ID " in script
    assert f"#SBATCH -e {project.aside}/logs/cure-project-%J.err" in script
    assert sorted(path.name for path in (project.aside / "logs").iterdir()) == [
        "cure-project-1.err",
        "cure-project-1.out",
    ]
    assert equal(project, serial)


def test_a_dry_run_prints_the_scripts_of_both_partitions_and_submits_nothing(project, slurm, monkeypatch):
    for name, value in slurm.env(project.env["PATH"]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__JOB_EXTRA_DIRECTIVES", "['--gres=gpu:1', '--qos=night']")
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__JOB_SCRIPT_PROLOGUE", "['module load cuda']")
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM_CPU__MEMORY", "2GB")
    said = project.run("cure", "grid", "--slurm", "gpus", "--cpu-partition", "cpu", "--dry-run")
    gpu, cpu = said.split("#!/usr/bin/env bash")[1:]
    for script, partition, memory in ((gpu, "gpus", 954), (cpu, "cpu", 2)):
        assert {"#SBATCH -J cure-project", f"#SBATCH -p {partition}", "#SBATCH --qos=night"} <= set(script.splitlines())
        assert f"#SBATCH --mem={memory}" in script
        assert "module load cuda\n" in script
    assert "--gres=gpu:1" in gpu
    assert "gres" not in cpu
    assert "export CURE_WITHOUT_GPU=1" in cpu
    assert not slurm.submitted()
    assert "--dry-run: only with --slurm" in project.run("cure", "grid", "--dry-run", expect=2)


def test_at_ctrl_c_in_mid_stage_every_job_ends_by_itself(project, slurm, grid):
    """The stand-in's scancel kills nobody: what hangs at SIGTERM would stay."""
    project.hold("train-a")
    with grid("--workers", "2") as driver:
        until(lambda: resumable(project), driver)
        _, stage = project.book("train-a")[-1]
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=60) == 130
    until(lambda: gone(stage) and not slurm.jobs())
