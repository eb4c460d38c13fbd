"""One run by two processes, through the stages as DVC starts them: torchrun, a group, shared units."""

import json
import os
import subprocess
import sys

from ruamel.yaml import YAML

from tests.support.project import ROOT
from tests.support.stages import short

RUN = ("digits", "small", "at", "0")


def stage(folder, scratch, name, *words):
    line = [sys.executable, str(ROOT / "stages" / f"{name}.py"), *words]
    env = os.environ | {"CURE_SCRATCH": str(scratch), "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=900)


def ask(folder, **run_settings):
    raw = short()
    (folder / "params.yaml").unlink(missing_ok=True)
    YAML(typ="safe", pure=True).dump(raw | {"run": raw["run"] | run_settings}, folder / "params.yaml")


def test_two_processes_train_a_cell_and_find_what_one_finds_in_an_attack(tmp_path):
    folder, scratch = tmp_path / "pipeline", tmp_path / "scratch"
    folder.mkdir()
    ask(folder, processes=2)
    for name, *words in (("prepare", "digits"), ("update", *RUN), ("attack", *RUN)):
        done = stage(folder, scratch, name, *words)
        assert done.returncode == 0, done.stderr
    sidecar, result = (folder / place for place in ("provenance", "results"))
    trained = json.loads((sidecar / "digits/small/at-s0-update.json").read_text())
    assert trained["processes"] == 2
    [both] = result.rglob("at-s0-attack.json")
    found = both.read_bytes()
    both.unlink()
    ask(folder, processes=1)
    done = stage(folder, tmp_path / "another", "attack", *RUN)
    assert done.returncode == 0, done.stderr
    assert both.read_bytes() == found


def test_what_they_cannot_do_is_said_once(tmp_path):
    ask(tmp_path, processes=2, sync_batchnorm=True)
    (tmp_path / "data").mkdir()
    done = stage(tmp_path, tmp_path / "scratch", "update", *RUN)
    assert done.returncode == 2
    assert done.stderr.count("SyncBatchNorm on CUDA only") == 1
    assert "Traceback" not in done.stderr
