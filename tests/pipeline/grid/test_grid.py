"""`cure grid` on a pipeline of four short stages: two workers leave what one `dvc repro` leaves, whoever is killed."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from distributed import Client, Security, SpecCluster
from ruamel.yaml import YAML

from cure.errors import UserError
from cure.pipeline.grid import dag
from cure.pipeline.grid.command import reproduce
from cure.pipeline.grid.options import WorkerOptions
from cure.pipeline.grid.work import KILLED
from cure.pipeline.grid.workers import connected, shares
from tests.support.grid_project import SERIAL, SHOWN, Project, equal, gone, line, resumable, until


def test_two_workers_leave_the_lock_of_a_serial_run_and_no_stage_starts_before_its_parents(project, serial):
    project.hold("train-a")
    with project.started() as driver:
        until(lambda: "ends" in project.said("train-b"))
        assert "ends" not in project.said("train-a")
        project.release("train-a")
        assert driver.wait(timeout=300) == 0
    names = [line.split()[0] for line in project.order()]
    assert names[:2] == ["prepare", "prepare"]
    assert names[-2:] == ["report", "report"]
    assert equal(project, serial)
    assert "4 up to date" in project.grid()


def test_it_ends_with_what_the_last_stage_shows_each_time_and_after_a_failure_shows_nothing(project, serial):
    assert SHOWN in project.grid()
    assert equal(project, serial)
    again = project.grid()
    assert SHOWN in again
    assert "4 up to date" in again
    assert equal(project, serial)
    (project.root / "step.py").write_text((project.root / "step.py").read_text() + "\n")
    (project.aside / "wrong-train-a").touch()
    assert SHOWN not in project.grid(expect=1)


def test_a_pipeline_folder_is_named_from_outside_of_it(project, serial):
    folder = project.root / "below"
    folder.mkdir()
    for name in ("dvc.yaml", "step.py"):
        (project.root / name).rename(folder / name)
    assert "4 done" in project.grid("below")
    assert (folder / "dvc.lock").read_bytes() == serial.lock.read_bytes()
    assert "4 up to date" in project.grid("below")


def test_whoever_is_killed_in_mid_stage_it_resumes_and_the_lock_is_that_of_a_serial_run(project, serial):
    project.hold("train-a")
    with project.started() as driver:
        for attempt, place in enumerate((-1, 3, 2, 0), start=1):  # the stage, its shell, its DVC, its worker
            until(lambda attempt=attempt: project.said("train-a").count("starts") == attempt and resumable(project))
            _, stage = project.book("train-a")[-1]
            os.kill(line(stage, driver)[place], signal.SIGKILL)
            until(lambda stage=stage: gone(stage))
        until(lambda: project.said("train-a").count("starts") == 5)
        project.release("train-a")
        assert driver.wait(timeout=300) == 0, project.output
    assert project.said("train-a") == ["starts", "step-1", *["starts"] * 4, "step-2", "step-3", "ends"]
    assert equal(project, serial)
    assert "attempt 5" in project.output


@pytest.mark.parametrize(("how", "code"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_after_the_death_of_the_driver_nothing_goes_on_and_the_same_command_does(project, serial, how, code):
    project.hold("train-a")
    with project.started() as driver:
        until(lambda: resumable(project) and "train@b" in project.lock.read_text())
        _, stage = project.book("train-a")[-1]
        send = os.killpg if how == "SIGINT" else os.kill  # Ctrl-C reaches everybody
        send(driver.pid, signal.Signals[how])
        assert driver.wait(timeout=300) == code
        until(lambda: gone(stage))
    assert "Traceback" not in project.output
    project.release("train-a")
    assert "failed" not in project.grid()
    assert project.said("train-a") == ["starts", "step-1", "starts", "step-2", "step-3", "ends"]
    assert all(project.said(name).count("ends") == 1 for name in SERIAL)
    assert equal(project, serial)


def test_a_list_of_locks_that_a_killed_dvc_left_empty_stops_nothing(project, serial):
    locks = project.root / ".dvc/tmp/rwlock"
    locks.touch()
    project.hold("train-a")
    with project.started() as driver:
        until(lambda: resumable(project), driver)
        locks.write_text("")
        project.release("train-a")
        assert driver.wait(timeout=300) == 0, project.output
    assert "failed" not in project.output
    assert equal(project, serial)
    project.run("dvc", "status")


def test_what_a_stage_of_a_lost_host_left_in_the_list_of_locks_stops_nothing(project, serial):
    """Its process number belongs to somebody else here."""
    command = f"/env/dvc/__main__.py --cd {project.root} --wait-for-lock repro -s train@a"
    written = {str(project.root / "out/train-a"): {"pid": os.getpid(), "cmd": command}}
    (project.root / ".dvc/tmp/rwlock").write_text(json.dumps({"write": written, "read": {}}))
    assert "4 done" in project.grid()
    assert equal(project, serial)


def test_a_dvc_command_in_the_way_is_named_and_waited_for(project, serial):
    locks = project.root / ".dvc/tmp/rwlock"
    project.hold("prepare")
    with subprocess.Popen(["sleep", "1000"]) as other, project.started() as driver:
        until(lambda: project.said("prepare") == ["starts", "step-1"], driver)
        listed = json.loads(locks.read_text())
        listed["write"][str(project.root / "out/train-a")] = {"pid": other.pid, "cmd": "dvc repro"}
        locks.write_text(json.dumps(listed))
        project.release("prepare")
        log = project.root / ".dvc/tmp/grid/logs/train@a.progress"
        until(lambda: log.exists() and f"waits for PID {other.pid}: dvc repro" in log.read_text(), driver)
        other.kill()
        other.wait()
        assert driver.wait(timeout=300) == 0, project.output
    assert equal(project, serial)


def test_a_strangers_client_is_refused_and_nobody_serves_a_page(tmp_path):
    options = WorkerOptions(1, [], None, None, 3)
    with connected(options, tmp_path, tmp_path) as workers:
        until(lambda: workers.count() == {"": 1})
        address = workers.client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        for stranger, security in ((address, Security.temporary()), (address.replace("tls", "tcp"), None)):
            with pytest.raises(OSError, match=r"Timed out|in <T|certificate does not match"):
                Client(stranger, security=security, timeout="2s")
        seen = workers.client.scheduler_info()["workers"]
        known = {address, *seen, *(each["nanny"] for each in seen.values())}
        mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
        places = [each for process in mine for each in process.net_connections() if each.status == "LISTEN"]
        assert {each.laddr.port for each in places} == {int(each.rpartition(":")[2]) for each in known}


def test_what_goes_wrong_when_dask_closes_undoes_nothing(project, serial, monkeypatch, capsys):
    def crash(self, *_, **__):
        close(self)
        raise AssertionError("Status.running")

    close = SpecCluster.close
    monkeypatch.setattr(SpecCluster, "close", crash)
    for name, value in project.env.items():
        monkeypatch.setenv(name, value)
    assert reproduce(project.root, WorkerOptions(2, [], None, None, 3)) == 0
    said = capsys.readouterr()
    assert "4 done" in said.out
    assert "warning: Dask did not close cleanly: AssertionError('Status.running')" in said.err
    assert equal(project, serial)


def test_a_stage_that_fails_is_named_what_needs_it_is_skipped_and_the_others_run(project, serial):
    (project.aside / "wrong-train-a").touch()
    said = project.grid(expect=1)
    log = project.root / ".dvc/tmp/grid/logs/train@a.log"
    assert f"error: train@a: a wrong number; its output: {log}" in said
    assert "2 done, 1 failed, 1 skipped" in said
    assert "Running stage 'train@a'" in log.read_text()
    assert project.said("train-a") == ["starts"]  # once: an error is no accident
    assert [name for name in SERIAL if "ends" in project.said(name)] == ["prepare", "train-b"]
    (project.aside / "wrong-train-a").unlink()
    assert "2 done, 2 up to date" in project.grid()
    assert stages(project) == stages(serial)


def stages(project):
    return YAML(typ="safe").load(project.lock.read_text())["stages"]


@pytest.fixture(params=["tcp", "tls"])
def cluster(project, request, monkeypatch):
    """A Dask scheduler with one worker, in processes of their own; with TLS, all take it from Dask's configuration."""
    if request.param == "tls":
        certificate = project.aside / "certificate"
        files = Security.temporary()
        certificate.write_text(files.tls_client_key + files.tls_client_cert)
        roles = [f"{role}__{kind}" for role in ("SCHEDULER", "WORKER", "CLIENT") for kind in ("CERT", "KEY")]
        for name in (*roles, "CA_FILE"):
            monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", str(certificate))
    with contextlib.ExitStack() as stack:

        def dask(kind, *words):
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *words]
            out = stack.enter_context((project.aside / kind).open("w"))
            how = {"cwd": project.aside, "env": project.env, "stdout": out, "stderr": out}
            stack.callback(stack.enter_context(subprocess.Popen(command, **how)).terminate)

        dask("scheduler", "--host", f"{request.param}://127.0.0.1", "--port", "0")
        said = project.aside / "scheduler"
        address = until(lambda: re.search(rf"Scheduler at: +({request.param}://[\d.:]+)", said.read_text()))[1]
        dask("worker", address, "--nthreads", "1")
        yield address


def test_on_a_cluster_the_same_and_its_workers_stop_when_the_driver_dies(project, serial, cluster):
    project.hold("train-a")
    with project.started("--cluster", cluster) as driver:
        until(lambda: resumable(project), driver)
        _, stage = project.book("train-a")[-1]
        driver.kill()
        until(lambda: gone(stage))
    project.release("train-a")
    project.run("cure", "grid", "--cluster", cluster)
    assert project.said("train-a") == ["starts", "step-1", "starts", "step-2", "step-3", "ends"]
    assert equal(project, serial)


def test_clones_that_share_nothing_but_a_remote_merge_in_a_third(project, serial, tmp_path):
    project.run("dvc", "remote", "add", "-d", "lab", str(tmp_path / "lab"))
    for row in "ab":
        shutil.copytree(project.root, tmp_path / row / "project")
        clone = Project(tmp_path / row / "project", project.aside)
        clone.run("dvc", "repro", "--pull", f"train@{row}")
        clone.run("dvc", "push", "--run-cache")
    said = project.run("dvc", "repro", "--pull")
    assert re.findall(r"Running stage '(.+)'", said) == ["report", "show"]  # what git keeps, the run cache does not
    assert [project.said(name).count("ends") for name in SERIAL] == [1, 1, 1, 1]
    assert equal(project, serial)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cluster": "tcp://127.0.0.1:9", "slurm": "gpus"}, "--cluster and --slurm: name one of them"),
        ({"slurm": "gpus", "devices": ["0"]}, "--device-per-worker: only for workers of this machine"),
        ({"cluster": "tcp://127.0.0.1:9", "workers": 2}, "--workers: not with --cluster, which has workers of its own"),
        ({"cluster": "nonsense://x"}, "--cluster nonsense://x: no Dask scheduler answers"),
        ({"cluster": "tls://127.0.0.1:9"}, "set its certificates in ~/.config/dask/distributed.yaml"),
        ({"cpu_partition": "cpu"}, "--cpu-partition: only with --slurm"),
        (
            {"slurm": "gpus"},
            "--slurm: cores and memory of a job: not found; write it into ~/.config/dask/jobqueue.yaml",
        ),
    ],
)
def test_workers_that_cannot_be_had_are_refused(tmp_path, options, said):
    nobody = {"workers": None, "devices": [], "cluster": None, "slurm": None, "retries": 3}
    with (
        pytest.raises(UserError, match=re.escape(said)),
        connected(WorkerOptions(**nobody | options), tmp_path, tmp_path),
    ):
        pass


def test_a_folder_without_a_pipeline_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"dvc\.yaml: not found; name a pipeline folder, such as quickstart"):
        dag.read(tmp_path)


@pytest.mark.parametrize(
    ("run", "visible", "workers", "expected"),
    [
        ("{device: cuda, threads: 1}", "0,3", None, ["0", "3"]),
        ("{device: auto, threads: 1}", "0,3", 4, ["0", "3"]),  # two workers on each
        ("{device: cuda, processes: 2}", "0,1,2,3,4", None, ["0,1", "2,3"]),
        ("{device: cuda, processes: 2}", "0", None, ["0"]),  # which the stage refuses
        ("{device: cpu, threads: 2, processes: 2}", "", None, ["", ""]),
        ("{device: cpu, threads: 2}", "0,3", None, ["", "", "", ""]),
        ("{device: auto, threads: 3}", "", None, ["", ""]),
        ("{device: auto, threads: 99}", "", None, [""]),
        ("{device: auto, threads: 1}", "", 3, ["", "", ""]),
        ("nothing of ours", "", 1, [""]),
    ],
)
def test_a_worker_gets_a_gpu_or_a_share_of_the_cores(tmp_path, monkeypatch, run, visible, workers, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "params.yaml").write_text(f"run: {run}\n")
    assert shares(tmp_path, workers) == expected


@pytest.mark.parametrize(
    ("said", "killed"),
    [
        ("ERROR: failed to reproduce 'a': failed to run: python x, exited with -9", True),
        ("failed to run: python x, exited with 137", True),
        ("failed (exitcode: -9) local_rank: 1 (pid: 7)\nfailed to run: python x, exited with 1", True),
        ("failed (exitcode: 2) local_rank: 0 (pid: 7)\nfailed to run: python x, exited with 1", False),
    ],
)
def test_a_stage_or_one_of_its_processes_that_a_signal_ended_is_told_from_an_error(said, killed):
    assert bool(KILLED.search(said)) is killed
