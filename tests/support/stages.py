"""Run stages in a folder of their own, also with damaged inputs."""

import contextlib
import importlib
import json
import resource
import subprocess
import sys

import pytest
from ruamel.yaml import YAML
from safetensors import safe_open
from safetensors.torch import save_file

from cure.errors import UserError
from tests.support.project import ROOT
from tests.support.settings import GONE, QUICKSTART, changed

YAML_12 = YAML(typ="safe", pure=True)
DATA = "data/digits.safetensors"
NATURAL = "weights/digits/small/natural-s0.safetensors"
TRAJECTORY = "trajectories/digits/small/cure-s0.safetensors"
RUN = ("digits", "small")
UPDATE_CURE, REVISE_CURE = ("update", *RUN, "cure", 0), ("revise", *RUN, "cure", 0)
ATTACK, CORRUPT = ("attack", *RUN, "natural", 0), ("corrupt", *RUN, "natural", 0)
UPDATE_TRADES = ("update", *RUN, "trades", 0)


def _at_once(section):
    """Let whatever begins at some epoch begin at the first."""
    for key, value in section.items():
        if key == "begin":
            section[key] = 1
        elif isinstance(value, dict):
            _at_once(value)


def tiny():
    """Return the quickstart's params, shortened; device settings, which outlive a test, are this process's own."""
    raw = QUICKSTART
    for section in ("train", "pretrain"):
        for key, value in (("epochs", 1), ("batch", 256), ("drops", {}), ("validate_attack.steps", 1)):
            raw = changed(raw, f"{section}.{key}", value)
    for method in ("at", "trades", "cure.update"):
        raw = changed(raw, f"methods.{method}.attack.steps", 1)
    for key, value in {"images": 60, "batch": 60, "severities": [1, 2], "corruptions": ["fog", "contrast"]}.items():
        raw = changed(raw, f"corrupt.{key}", value)
    raw = changed(raw, "attack.images", 60)
    raw = changed(raw, "attack.subset", dict.fromkeys(raw["attack"]["subset"], 20))
    for name, column in raw["attack"]["columns"].items():
        brief = {"steps": 3, "iterations": 3, "queries": 20}
        raw = changed(raw, f"attack.columns.{name}", column | {k: n for k, n in brief.items() if k in column})
    _at_once(raw)
    run = {"device": "cpu", "threads": 1, "deterministic": False, "cpu_isa": "native"}
    return raw | {
        "run": run
        | {
            "layout": "contiguous",
            "precision": "fp32",
            "tf32": False,
            "compile": False,
            "graphs": False,
            "processes": 1,
            "sync_batchnorm": False,
        }
    }


def command(folder, stage, *args):
    """Run a stage as DVC or a person does."""
    line = [sys.executable, ROOT / "stages" / f"{stage}.py", *map(str, args)]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def call(folder, stage, *args):
    """Run a stage within this process, which saves its start."""
    with contextlib.chdir(folder):
        importlib.import_module(f"stages.{stage}").main(*args)


def everything(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refusal(folder, *stage):
    """Return the message of a stage that rejects its input; it must leave the folder as it was."""
    before = everything(folder)
    with pytest.raises(UserError) as refused:
        call(folder, *stage)
    assert everything(folder) == before
    return str(refused.value)


def edit_params(folder, where, value):
    path = folder / "params.yaml"
    YAML_12.dump(changed(YAML_12.load(path), where, value), path)


def opened(path):
    """Return the description in a file, and its tensors."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["cure"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def edit_header(path, **changes):
    about, tensors = opened(path)
    about = {key: value for key, value in (about | changes).items() if value is not GONE}
    save_file(tensors, path, metadata={"cure": json.dumps(about)})


@contextlib.contextmanager
def full_disk():
    """Limit files to 512 bytes, as on a disk that fills up while they are written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


EPOCHS = 4


def short():
    """Return params with one short schedule, and every kind of attack with few steps."""
    raw = tiny()
    for section in ("train", "pretrain"):
        raw = changed(raw, f"{section}.epochs", EPOCHS)
    raw = changed(raw, "methods.cure.update.train", {})
    raw = changed(raw, "methods.rift.mrc_epochs", 2)
    return changed(raw, "methods.las_at.presets.las_at.every", 2)
