"""The pilot without DVC: DVC's own steps in an order that works, cut and continued, and what is refused."""

import io
import os
import sys
import tarfile
import time

import numpy as np
import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from PIL import Image

from cure.errors import UserError
from cure.settings.params import read
from cure.storage.files import sha256
from pilot.pieces import TO_DO, go, pack, unpack, write_params
from pilot.steps import ROOT, Step, pending, steps

PILOT = ROOT / "pilot"
SHORT = {
    "datasets.folder.train_images": 40,
    "datasets.folder.validation": 8,
    "pretrain.epochs": 15,
    "pretrain.batch": 4,
    "pretrain.drops": {10: 0.1},
}


def pipeline(folder, overrides):
    write_params(folder / "params.yaml", overrides)
    return steps(read(PILOT / "dvc.yaml"), read(folder / "params.yaml"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two classes of random 8x8 images, as the archive of the JPEG copy has them."""
    folder, draws = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 5)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draws.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / split / name / f"{i:02}.png")
    path = folder / "tiny.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for split in ("train", "test"):
            tar.add(folder / split, split)
    return path


def test_the_steps_are_those_of_dvc(tmp_path):
    def here(path):
        return os.path.normpath(PILOT / path)

    ours = {
        tuple(step.cmd[1:]): (set(map(here, step.deps)), set(map(here, step.outs))) for step in pipeline(tmp_path, {})
    }
    with Repo(str(PILOT)) as repo:
        theirs = {}
        for stage in repo.stage.load_all(str(PILOT / "dvc.yaml")):
            _, script, *words = stage.cmd.split()
            deps = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
            files = {dep.fs_path for dep in deps if not dep.def_path.startswith("code/")}
            theirs[here(script), *words] = files, {out.fs_path for out in stage.outs}
    del theirs[here("../stages/report.py"),]
    assert ours == theirs


@pytest.mark.parametrize("overrides", [{}, read(PILOT / "gpu.yaml")], ids=["cpu", "gpu"])
def test_a_step_comes_after_those_that_it_needs_and_a_row_after_another(tmp_path, overrides):
    ordered, there = pipeline(tmp_path, overrides), set()
    made = {out for step in ordered for out in step.outs}
    for step in ordered:
        assert made & set(step.deps) <= there
        there |= set(step.outs)
    names = [" ".join([step.name.split()[0], step.name.split()[-2]]) for step in ordered]
    assert names.index("attack at") < names.index("update trades") < names.index("corrupt natural")


def test_a_cut_run_goes_on_and_ends_in_the_same_bytes(archive, tmp_path, monkeypatch, capfd):
    def run(name, *seconds):
        folder = tmp_path / name
        monkeypatch.setenv("CURE_SCRATCH", str(folder / "scratch"))
        ordered = pipeline(folder, SHORT)[:2]  # prepare and pretrain
        monkeypatch.setenv("CURE_PILOT_IMAGES", str(unpack(archive, sha256(archive), folder)))
        codes = [go(ordered, folder, time.monotonic() + limit) for limit in seconds]
        files = {path.relative_to(folder): sha256(path) for step in ordered for path in map(folder.joinpath, step.outs)}
        return codes, files

    codes, cut = run("cut", 5, 300)
    assert codes == [TO_DO, 0]
    assert "pretrain folder small_resnet 0: done" in capfd.readouterr().out
    assert run("whole", 300) == ([0], cut)


def script(folder, name, code, deps=(), outs=()):
    (folder / f"{name}.py").write_text(code)
    return Step([sys.executable, f"{name}.py"], list(deps), list(outs))


def test_a_failed_step_holds_up_those_behind_it_alone(tmp_path, capfd):
    def writes(name, deps=()):
        return script(tmp_path, name, f"open('{name}', 'w')", deps, [name])

    (tmp_path / "results").mkdir()
    bad = script(tmp_path, "bad", "raise SystemExit(2)", (), ["results/bad"])
    behind, other = writes("results/behind", ["results/bad"]), writes("results/other")
    assert go([bad, behind, other], tmp_path, time.monotonic() + 60) == 1
    lines = [line.split(",")[0] for line in capfd.readouterr().out.splitlines()]
    assert lines == ["bad: failed", "behind: to do", "other: done"]


def test_results_at_hand_spare_their_training(tmp_path):
    train = Step(["python", "train.py"], [], ["weights/a", "curves/a"])
    attack = Step(["python", "attack.py"], ["weights/a"], ["results/a"])
    corrupt = Step(["python", "corrupt.py"], ["weights/a"], ["results/b"])
    for name in ("curves", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").touch()
    assert pending([train, attack], tmp_path) == []
    assert pending([train, attack, corrupt], tmp_path) == [train, corrupt]


def test_what_comes_home_is_all_that_the_report_reads_and_the_weights_that_fit(tmp_path):
    pipeline(tmp_path, {})
    for name, size in {"results/a.json": 9, "weights/a.safetensors": 9, "weights/b.safetensors": 2**24}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    pack(tmp_path, tmp_path / "out")
    held = {}
    for name in ("results", "weights"):
        with tarfile.open(tmp_path / "out" / f"{name}.tar.gz") as tar:
            held[name] = [member.name for member in tar if member.isfile()]
    assert held == {"results": ["params.yaml", "results/a.json"], "weights": ["weights/a.safetensors"]}


@pytest.mark.reliability("wrong inputs")
def test_a_run_keeps_its_settings(tmp_path):
    pipeline(tmp_path, {"train.epochs": 3})
    with pytest.raises(UserError, match="other settings; give them again, or name another --folder"):
        pipeline(tmp_path, {"train.epochs": 4})
    with pytest.raises(UserError, match=r"nothing\.epochs: nothing is not a section"):
        pipeline(tmp_path / "new", {"nothing.epochs": 4})
    with pytest.raises(UserError, match=r"train\.epochs"):
        pipeline(tmp_path / "new", {"train.epochs": -1})
    assert not (tmp_path / "new" / "params.yaml").exists()


@pytest.mark.reliability("wrong inputs")
def test_a_foreign_archive_is_refused(archive, tmp_path):
    with pytest.raises(UserError, match=r"has sha256 .*, not 0; fetch it again"):
        unpack(archive, "0", tmp_path)
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(archive.read_bytes()[:500])
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(broken, None, tmp_path)
    outside = tmp_path / "outside.tar"
    with tarfile.open(outside, "w") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"), io.BytesIO())
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(outside, None, tmp_path / "run")
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "broken").exists()
