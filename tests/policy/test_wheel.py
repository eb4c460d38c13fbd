"""The wheel, built without a network and installed into an empty folder, evaluates a state dict there."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from cure.storage.checkpoint import build
from tests.support.project import ROOT, VERSION

UV = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv/bin/uv")


def done(folder: Path, *line: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in line],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = done(ROOT, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    assert built.returncode == 0, built.stderr
    (path,) = folder.iterdir()
    return path


def test_the_wheel_carries_its_version_and_what_the_package_reads(wheel: Path) -> None:
    assert wheel.name == f"cure-{VERSION}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"cure/published.yaml", "cure/claims.yaml", "cure/evaluation/standalone/api.py"} <= names
    assert {name.partition("/")[0] for name in names} == {"cure", f"cure-{VERSION}.dist-info"}


@pytest.mark.skipif(not Path(UV).exists(), reason="uv is not here, which installs the wheel; `uv run pytest` has it")
def test_an_installed_wheel_evaluates_a_state_dict(wheel: Path, tmp_path: Path) -> None:
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    line = (UV, "pip", "install", "--offline", "--no-deps", "--python", sys.executable, "--target", site, wheel)
    installed = done(tmp_path, *line)
    assert installed.returncode == 0, installed.stderr
    torch.save({"state_dict": build("resnet18", {}, 1, 10).state_dict()}, here / "theirs.pt")
    where = {"PYTHONPATH": str(site), "CURE_SCRATCH": str(tmp_path / "scratch")}
    told = done(here, sys.executable, "-c", "import cure; print(cure.__version__, cure.__file__)", **where)
    assert told.stdout.split() == [VERSION, str(site / "cure/__init__.py")]
    asked = ["eval", "theirs.pt", "--model", "resnet18", "--data", "digits", "--n", "20", "--attacks", "clean,fgsm"]
    found = done(here, sys.executable, site / "bin/cure", *asked, "--force", "--json", **where)
    assert found.returncode in (0, 3), found.stderr  # 3: nobody trained this network, and the preflight says so
    (document,) = json.loads(found.stdout)
    assert document["versions"]["cure"] == VERSION
    assert (document["data"], document["accuracy"]["fgsm"]["images"]) == ("digits", 20)
