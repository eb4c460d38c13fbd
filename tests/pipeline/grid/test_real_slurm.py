"""`cure grid` on a real SLURM of this machine; skipped where its programs are absent (Debian: slurm-wlm, munge)."""

import getpass

import pytest

from tests.support import slurm
from tests.support.grid_project import SERIAL, equal, gone, resumable, until

pytestmark = pytest.mark.skipif(bool(slurm.missing()), reason=f"SLURM is not here: {', '.join(slurm.missing())}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment in which the commands of SLURM find their cluster."""
    with slurm.slurm(tmp_path_factory.mktemp("slurm")) as env:
        site = {"CORES": "1", "MEMORY": "1GB", "WALLTIME": "00:10:00", "JOB_EXTRA_DIRECTIVES": "['--gres=gpu:1']"}
        yield env | {f"DASK_JOBQUEUE__SLURM__{name}": value for name, value in site.items()}


@pytest.fixture
def on(cluster, monkeypatch):
    """Set the environment of the cluster, with changes of the site's configuration."""

    def change(**site):
        for name, value in (cluster | {f"DASK_JOBQUEUE__SLURM__{name}": value for name, value in site.items()}).items():
            monkeypatch.setenv(name, value)

    change()
    return change


def queue(env):
    return slurm.command(env, "squeue", "--noheader", "--states=PENDING,RUNNING", "--format=%i %j %P").split()


def test_twelve_times_all_jobs_are_cancelled_at_once_and_the_bytes_are_those_of_a_serial_run(
    project, serial, cluster, on
):
    project.hold("train-a")
    words = ("--slurm", "gpus", "--workers", "2", "--cpu-partition", "cpu", "--retries", "0")
    with project.started(*words) as driver:
        for round_ in range(1, 13):
            until(
                lambda round_=round_: project.said("train-a").count("starts") == round_ and resumable(project), driver
            )
            _, stage = project.book("train-a")[-1]
            slurm.command(cluster, "scancel", f"--user={getpass.getuser()}")
            until(lambda stage=stage: gone(stage))
        until(lambda: project.said("train-a").count("starts") == 13, driver)
        assert "cure-project" in queue(cluster)
        project.release("train-a")
        assert driver.wait(timeout=300) == 0, project.output
    assert project.said("train-a") == ["starts", "step-1", *["starts"] * 12, "step-2", "step-3", "ends"]
    assert equal(project, serial)
    assert "failed" not in project.output
    places = [(project.aside / f"place-{name}").read_text() for name in SERIAL]
    assert places == ["1cpu", "gpus", "gpus", "gpus"]  # prepare alone is marked
    until(lambda: not queue(cluster))


def test_a_worker_ends_before_the_walltime_of_its_job_and_the_next_one_goes_on(project, serial, cluster, on):
    on(WALLTIME="00:01:00")
    project.hold("train-a")
    with project.started("--slurm", "gpus") as driver:
        until(lambda: project.said("train-a").count("starts") == 2, driver)
        project.release("train-a")
        assert driver.wait(timeout=300) == 0, project.output
    assert equal(project, serial)
    for log in (project.root / ".dvc/tmp/grid/logs").glob("cure-project-*.err"):
        assert "DUE TO TIME LIMIT" not in log.read_text()


@pytest.mark.parametrize(
    ("partition", "site", "said"),
    [
        ("nowhere", {}, "invalid partition specified: nowhere"),
        ("gpus", {"MEMORY": "9TB"}, "Requested node configuration is not available"),
    ],
)
def test_a_wrong_submission_is_one_line(project, cluster, on, partition, site, said):
    on(**site)
    with project.started("--slurm", partition) as driver:
        assert driver.wait(timeout=60) == 2
    last = project.output.splitlines()[-1]
    assert last.startswith(f"error: --slurm {partition}: sbatch: ")
    assert said in last
    assert "Traceback" not in project.output
    assert not queue(cluster)


def test_jobs_that_may_not_start_are_shown_with_slurms_reason(project, cluster, on):
    on(WALLTIME="03:00:00")  # of a partition that allows one hour
    with project.started("--slurm", "cpu", "--workers", "2") as driver:
        until(lambda: "0 of 2 workers; jobs" in project.output and "pending (PartitionTimeLimit)" in project.output)
        driver.terminate()
        assert driver.wait(timeout=60) == 130
    until(lambda: not queue(cluster))
