"""The project in a temporary clone with a tiny quickstart, and DVC's actions there."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo
from ruamel.yaml import YAML

from tests.support.project import ROOT

EPOCHS = 5
FROM_NATURAL = "update_from_natural_to_revise"
ROWS = {"natural": "natural", "at": "update", "trades": "update", "cure": FROM_NATURAL}  # row -> its list in the grid
LOOKED_INTO = ["natural", "cure"]


def runs(stage, rows):
    """Return the stages that make or measure these rows of these lists, named by verb and list."""
    return {f"{stage}{listed}@digits-small-{row}-0" for row, listed in rows.items()}


def measured(rows):
    """Return the attack and corrupt stages of these rows."""
    return runs("attack_", rows) | runs("corrupt_", rows)


PREPARE, PRETRAIN = "prepare@digits", "pretrain@digits-small-0"
STUDIED, LAYERS = "pretrain@digits-small_resnet-0", "layers@digits-small_resnet-reinit-every-0"
AT, TRADES = "update@digits-small-at-0", "update@digits-small-trades-0"
CURE, REVISE = f"{FROM_NATURAL}@digits-small-cure-0", "revise_from_natural@digits-small-cure-0"
ROBUST = {AT, TRADES, CURE}
ATTACKS, CORRUPTS = runs("attack_", ROWS), runs("corrupt_", ROWS)
ANALYSES = {f"analyse@digits-small-{row}-0" for row in LOOKED_INTO}
STAGES = {PREPARE, PRETRAIN, STUDIED, LAYERS, *ROBUST, REVISE, *ATTACKS, *CORRUPTS, *ANALYSES, "report"}
EVERY_TIME = {"code", "show"}


@dataclass(frozen=True)
class Clone:
    """A copy of the project with a git history of its own."""

    root: Path
    scratch: Path

    @property
    def quickstart(self):
        return self.root / "quickstart"

    @property
    def params(self):
        return self.quickstart / "params.yaml"

    @property
    def environment(self):
        aside = {name: str(self.scratch) for name in ("CURE_SCRATCH", "CURE_DOWNLOADS", "DVC_SITE_CACHE_DIR")}
        aside |= {name: str(self.scratch) for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")}
        people = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PYTHONPATH": str(self.root), "PATH": path, "COLUMNS": "400", "GIT_CONFIG_GLOBAL": os.devnull}
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return kept | aside | people | own

    def run(self, *words, folder="quickstart", expect=0, **more):
        command = {"cwd": self.root / folder, "env": self.environment | more, "capture_output": True, "text": True}
        done = subprocess.run(words, **command, timeout=600)
        assert done.returncode == expect, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def started(self, *words):
        """Run a process during the block; end it, with all that it started, at the end of the block."""
        with (self.scratch / "output").open("w") as output:
            both = {"stdout": output, "stderr": output, "start_new_session": True}
            process = subprocess.Popen(words, cwd=self.quickstart, env=self.environment, **both)
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def commit(self):
        self.run("git", "add", "-A", folder=".")
        self.run("git", "commit", "-qm", "made", folder=".")

    def copy(self, place):
        """Copy the clone, with cache and scratch, for a test that changes something permanently."""
        shutil.copytree(self.root, place / "clone", symlinks=True)
        (place / "scratch").mkdir()
        return Clone(place / "clone", place / "scratch")

    def digest(self):
        """Write the texts of code/ anew, as the stage `code` does."""
        self.run(sys.executable, "../stages/digest.py")

    def stale(self):
        """Return the stages that `dvc repro` would run besides `code` and `show`, by the existing texts."""
        with contextlib.chdir(self.quickstart), Repo() as repo:  # DVC names a stage relative to the working folder
            return repo.status().keys() - {"code/dvc.yaml:code", "show"}

    def resume_file(self):
        return next(self.scratch.glob("*.pt"), None)


def tiny_clone(place):
    """Copy the working tree, uncommitted changes included, with a tiny quickstart that was never run."""
    clone = Clone(place / "clone", place / "scratch")
    clone.scratch.mkdir()
    listed = ["git", "-C", ROOT, "ls-files", "-coz", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file() and name != "quickstart/dvc.lock":
            (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone.root / name)
    clone.params.write_text(shrink(clone.params.read_text()))
    clone.run("git", "init", "-q", folder=".")
    clone.commit()
    return clone


def ran(output):
    """Return the stages that DVC ran, except those that it runs every time."""
    names = re.findall(r"^Running stage '(?:.*:)?([^:']+)':$", output, re.MULTILINE)
    return [name for name in names if name not in EVERY_TIME]


def shrink(text):
    """Return the same lines with smaller values and fewer rows, so that DVC treats them like the committed file."""
    yaml = YAML()
    raw = yaml.load(text)
    for key, methods in raw["grid"].items():
        if key not in ("datasets", "models", "seeds", "pretrain", "layers"):
            raw["grid"][key] = [name for name in methods if name in (LOOKED_INTO if key == "analyse" else ROWS)]
    raw["grid"]["layers"]["variants"] = ["reinit"]
    for name in list(raw["layers"]["blocks"]["every"]):
        if name not in ("u1", "all"):
            del raw["layers"]["blocks"]["every"][name]
    out = io.StringIO()
    yaml.dump(raw, out)
    again = io.StringIO()
    yaml.dump(yaml.load(out.getvalue()), again)  # where a list became empty, the first text is not what DVC writes
    text = again.getvalue()
    small = {
        "steps": 2,
        "epochs": EPOCHS,
        "begin": 1,
        "iterations": 2,
        "queries": 5,
        "aa": 20,
        "min_l(?:inf|2)": 20,
    }
    for key, value in small.items():
        text = re.sub(rf"(?m)^( +(?:{key}):) \S.*$", rf"\1 {value}", text)
    text = re.sub(r"(?m)^  images: \S.*$", "  images: 60", text)  # of a section; those of an analysis are few
    for key in ("severities", "corruptions"):
        text = re.sub(rf"(?m)^(  {key}:\n(?:  - .*\n){{2}})(?:  - .*\n)+", r"\1", text)
    return text


@contextlib.contextmanager
def edited(path, edit):
    before = path.read_bytes() if path.exists() else None
    try:
        edit(path)
        yield
    finally:
        path.unlink() if before is None else path.write_bytes(before)


def set_param(key, value):
    def edit(path):
        yaml = YAML()
        *outer, last = key.split(".")
        section = raw = yaml.load(path.read_text())
        for name in outer:
            section = section[name]
        assert section.get(last) != value
        section[last] = value
        yaml.dump(raw, path)

    return edit


def update(method):
    return [sys.executable, "../stages/update.py", "digits", "small", method, "0"]


def outs_of_update(clone, method):
    folders = {"trajectories", "curves", "provenance"} | ({"weights"} if ROWS[method] == "update" else set())
    files = [path for folder in folders for path in clone.quickstart.glob(f"{folder}/digits/small/{method}-*")]
    files = [path for path in files if not path.stem.endswith(("-revise", "-attack", "-corrupt", "-analyse"))]
    return {path.relative_to(clone.quickstart).parts[0]: path for path in files}
