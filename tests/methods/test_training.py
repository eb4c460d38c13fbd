"""Every method of the catalogue, trained on digits with the quickstart's settings and few epochs, becomes robust."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cure import catalogue
from cure.storage.paths import Run
from tests.support.method_harness import QUICKSTART, ROOT

EPOCHS = 12
CHANCE = 0.1


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with short schedules, prepared data, a natural network and both parents in their roles."""
    folder = tmp_path_factory.mktemp("training")
    text = (
        QUICKSTART.read_text()
        .replace("  epochs: 25\n", f"  epochs: {EPOCHS}\n")
        .replace("    19: 0.1\n", "    9: 0.1\n")
        .replace("begin: 19\n", "begin: 9\n")
        .replace("begin: 16 ", "begin: 9 ")
    )
    (folder / "params.yaml").write_text(text.replace("  validate_every: 1\n", f"  validate_every: {EPOCHS}\n"))
    run_stage(folder, "prepare", "digits")
    run_stage(folder, "pretrain", "digits", "small", "0")
    for method in ("at", "trades"):
        run_stage(folder, "update", "digits", "small", method, "0")
    return folder


def run_stage(folder: Path, stage: str, *words: str) -> None:
    aside = {"CURE_SCRATCH": str(folder / "scratch"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "stages" / f"{stage}.py"), *words]
    done = subprocess.run(command, cwd=folder, env=os.environ | aside, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in catalogue.names("methods") if name != "natural"])
def test_a_robust_method_becomes_robust(pipeline: Path, name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(pipeline, tmp_path / "pipeline")
    method, run = catalogue.entry("methods", name).METHOD, Run("digits", "small", name, 0)
    if method.updates and not (folder / run.curve).exists():
        run_stage(folder, "update", "digits", "small", name, "0")
    if method.select_network is not None:
        run_stage(folder, "revise", "digits", "small", name, "0")
    assert (folder / run.weights).exists()
    if method.updates:
        assert pd.read_csv(folder / run.curve)["val_pgd"].iloc[-1] > 2 * CHANCE  # a natural network is at zero


def test_an_analysis_of_a_trained_network_repeats_to_the_byte(pipeline: Path, tmp_path: Path) -> None:
    folder, run = shutil.copytree(pipeline, tmp_path / "pipeline"), Run("digits", "small", "part", 0)
    run_stage(folder, "update", "digits", "small", "part", "0")
    made = []
    for _ in range(2):
        run_stage(folder, "analyse", "digits", "small", "part", "0")
        made.append({path.name: path.read_bytes() for path in (folder / run.analyses).iterdir()})
    assert made[0] == made[1]
    without_a_mask = set(catalogue.names("analyses")) - {"rgp", "overlap"}
    assert set(made[0]) == {f"{name}.safetensors" for name in without_a_mask}
    assert (folder / run.provenance("analyse")).exists()
