"""A pipeline of four short stages and one that prints, for tests of `cure grid`, and how its stages are held."""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.project import ROOT

PIPELINE = """
stages:
  prepare:
    cmd: python step.py prepare
    meta: {gpu: false}
    deps: [step.py]
    outs: [out/prepare]
  train:
    matrix:
      row: [a, b]
    cmd: python step.py train-${item.row} prepare
    deps: [step.py, out/prepare]
    outs: ["out/train-${item.row}"]
  report:
    cmd: python step.py report train-a train-b
    deps: [step.py, out/train-a, out/train-b]
    outs:
    - out/report:
        cache: false
  show:
    cmd: cat out/report
    deps: [out/report]
    always_changed: true
"""
SHOWN = "reporttrain-aprepare" + "train-bprepare"
STEP = '''
"""A stage with a resume file; it stays at its second step as long as a file hold-NAME is there."""
import os, sys, time
from pathlib import Path
from cure.runtime.progress import progress

name, *parents = sys.argv[1:]
aside = Path(os.environ["ASIDE"])
resume = aside / f"resume-{name}"

def say(what):
    with (aside / "book").open("a") as book:
        book.write(f"{name} {what} {os.getpid()}\\n")

say("starts")
place = [os.environ.get(each, "") for each in ("CURE_WITHOUT_GPU", "SLURM_JOB_PARTITION")]
(aside / f"place-{name}").write_text("".join(place))
if (aside / f"wrong-{name}").exists():
    sys.exit("error: a wrong number")
done = int(resume.read_text()) if resume.exists() else 0
with progress(name, 3, done) as on_progress:
    for step in range(done + 1, 4):
        while step == 2 and (aside / f"hold-{name}").exists():
            time.sleep(0.02)
        say(f"step-{step}")
        resume.with_suffix(".tmp").write_text(str(step))
        resume.with_suffix(".tmp").rename(resume)  # a kill leaves the whole file or none
        on_progress("of three")
Path("out").mkdir(exist_ok=True)
Path("out", name).write_text(name + "".join(Path("out", parent).read_text() for parent in parents))
resume.unlink()
say("ends")
'''
SERIAL = ("prepare", "train-a", "train-b", "report")


@dataclass(frozen=True)
class Project:
    """A pipeline, and beside it the files that its stages write and wait for."""

    root: Path
    aside: Path

    @property
    def env(self):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        dvc = {f"DVC_{name}": str(self.aside) for name in ("SITE_CACHE_DIR", "GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR")}
        own = {"ASIDE": str(self.aside), "PYTHONPATH": str(ROOT), "PATH": path, "PYTHONHASHSEED": "0", "COLUMNS": "200"}
        return os.environ | dvc | own  # DVC's order of stages depends on the hash seed

    @property
    def lock(self):
        return self.root / "dvc.lock"

    @property
    def output(self):
        return (self.aside / "output").read_text()

    def run(self, *words, expect=0, more=None):
        env = self.env | (more or {})
        done = subprocess.run(words, cwd=self.root, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def grid(self, *words, expect=0):
        return self.run("cure", "grid", "--workers", "2", *words, expect=expect)

    @contextlib.contextmanager
    def started(self, *words):
        """Run a grid during the block; end it with the block."""
        command = ["cure", "grid", *(words or ["--workers", "2"])]
        with (self.aside / "output").open("a") as out:
            both = {"stdout": out, "stderr": out, "start_new_session": True}
            driver = subprocess.Popen(command, cwd=self.root, env=self.env, **both)
            try:
                yield driver
            finally:
                driver.kill()
                driver.wait()

    def book(self, name):
        """Return the records of a stage, with its processes."""
        path = self.aside / "book"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(what, int(pid)) for who, what, pid in lines if who == name]

    def said(self, name):
        return [what for what, _ in self.book(name)]

    def order(self):
        return [
            line for line in (self.aside / "book").read_text().split("\n") if " starts " in line or " ends " in line
        ]

    def hold(self, name):
        (self.aside / f"hold-{name}").touch()

    def release(self, name):
        (self.aside / f"hold-{name}").unlink()


def until(true, driver=None, seconds=300):
    """Wait for a condition, while the driver runs if one is given."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        assert driver is None or driver.poll() is None
        time.sleep(0.02)
    return found


def make(place):
    project = Project(place / "project", place / "aside")
    for folder in (project.root, project.aside):
        folder.mkdir(parents=True)
    (project.root / "dvc.yaml").write_text(PIPELINE)
    (project.root / "step.py").write_text(STEP)
    project.run("git", "init", "-q")
    project.run("dvc", "init", "-q")
    project.run("dvc", "config", "core.analytics", "false")
    return project


def equal(project, serial):
    outs = ["dvc.lock", *(f"out/{name}" for name in SERIAL)]
    return [name for name in outs if (project.root / name).read_bytes() != (serial.root / name).read_bytes()] == []


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # also if it ends while its status is read
        return True


def line(stage, driver):
    """Return the processes from the worker down to the stage: worker, keeper, DVC, possibly a shell, the stage."""
    pids = [stage, *(parent.pid for parent in psutil.Process(stage).parents())]
    return pids[: pids.index(driver.pid)][::-1]


def resumable(project):
    return (project.aside / "resume-train-a").exists()
