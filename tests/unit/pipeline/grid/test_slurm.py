"""When a worker ends itself, by the walltime of its job, and what is said of jobs."""

from pathlib import Path

import pytest

from cure.pipeline.grid import slurm
from cure.pipeline.grid.slurm import Pool, lifetime


def options(limit: str) -> list[str]:
    return lifetime(f"#!/bin/bash\n#SBATCH -J x\n#SBATCH -t {limit}\npython\n")


@pytest.mark.parametrize(
    ("limit", "seconds", "stagger"),
    [
        ("1", 42, 6),
        ("30", 1500, 180),
        ("30:00", 1500, 180),
        ("24:00:00", 85680, 600),
        ("1-00", 85680, 600),
        ("1-00:00", 85680, 600),
        ("0-24:00:00", 85680, 600),
    ],
)
def test_a_worker_ends_before_its_job_and_not_with_all_others(limit: str, seconds: int, stagger: int) -> None:
    assert options(limit) == ["--lifetime", f"{seconds}s", "--lifetime-stagger", f"{stagger}s"]


@pytest.mark.parametrize("limit", ["UNLIMITED", "infinite", "1-2-3"])
def test_without_a_walltime_a_worker_has_no_end(limit: str) -> None:
    assert options(limit) == []


def test_the_last_walltime_of_a_script_counts() -> None:
    script = "#SBATCH -t 24:00:00\n#SBATCH --time=30\npython -t 1"
    assert lifetime(script)[1] == "1500s"


def test_jobs_are_told_by_what_keeps_them() -> None:
    pool = Pool("gpu", "gpus", 4, Path("script"), "log-%J")
    assert pool.status() == ""
    pool.jobs = {"1": "pending (Priority)", "2": "starting", "3": "pending (Priority)", "4": "starting"}
    pool.here = {"4"}
    assert pool.status() == "1 of 4 workers; jobs 1, 3 pending (Priority); job 2 starting"


@pytest.mark.parametrize(("arrived", "deaths"), [({"gpu-1"}, 0), (set[str](), 1)])
def test_a_job_whose_worker_came_and_went_between_two_looks_did_not_die(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arrived: set[str], deaths: int
) -> None:
    monkeypatch.setattr(slurm, "_command", lambda *_, **__: "")  # an empty queue
    pool = Pool("gpu", "gpus", 1, Path("script"), str(tmp_path / "log-%J"), jobs={"1": "starting"}, arrived=arrived)
    pool.tend(set(), 0)
    assert pool.jobs == {}
    assert pool.deaths == deaths
    assert ("it printed nothing" in pool.status()) is bool(deaths)
