"""A lent GPU, rehearsed on the CPU: DVC's steps without DVC, phases, commands that are cut, and what comes home."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from PIL import Image
from ruamel.yaml import YAML

from cure.errors import UserError
from cure.settings.params import read
from cure.storage.files import sha256
from pilot import bench as bench_module
from pilot import gpu, measure
from pilot.gpu import ORDER, TO_DO, Lease, pack, phase, rows, write_params
from pilot.merge import merge, page
from pilot.pipeline import ROOT, Step, pending, steps

PILOT = ROOT / "pilot"
SHORT = {
    "datasets.folder.train_images": 40,
    "datasets.folder.validation": 8,
    "pretrain.epochs": 15,
    "pretrain.batch": 4,
    "pretrain.drops": {10: 0.1},
}


def pipeline(folder, overrides, first=()):
    write_params(folder / "params.yaml", overrides)
    return steps(read(PILOT / "dvc.yaml"), read(folder / "params.yaml"), first)


def lease(folder, seconds=3600.0, call=3600.0):
    return Lease(folder / "lease.json", seconds, call)


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
    for stage in ("report", "show"):
        del theirs[here(f"../stages/{stage}.py"),]
    assert ours == theirs


@pytest.mark.parametrize("overrides", [{}, read(PILOT / "lent.yaml")], ids=["cpu", "gpu"])
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
        monkeypatch.setenv("CURE_PILOT_IMAGES", str(archive))
        monkeypatch.setattr(gpu, "GRACE", 20)
        codes = [rows(ordered, folder, lease(folder, call=20.0 + limit)) for limit in seconds]
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
    assert rows([bad, behind, other], tmp_path, lease(tmp_path)) == 1
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


def held(out, name):
    with tarfile.open(out / f"{name}.tar.gz") as tar:
        return [member.name for member in tar if member.isfile()]


def test_what_comes_home_is_all_but_networks_and_each_network_once(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "ROOM", 2**20)
    pipeline(tmp_path, {})
    files = {
        "results/a.json": 9,
        "weights/a.safetensors": 9,
        "weights/b.safetensors": 2**20,
        "data/x": 9,
        "tests.txt": 9,
    }
    for i, (name, size) in enumerate(files.items()):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
        os.utime(tmp_path / name, (i, i))
    for networks in (["weights/a.safetensors"], ["weights/b.safetensors"], []):
        pack(tmp_path, tmp_path / "out", lease(tmp_path))
        assert held(tmp_path / "out", "results") == ["params.yaml", "results/a.json", "tests.txt"]
        assert held(tmp_path / "out", "networks") == networks


def test_a_phase_runs_once_however_it_ends(tmp_path, capfd):
    for code, ended in (("pass", "done"), ("raise SystemExit(3)", "failed"), ("import time; time.sleep(60)", "cut")):
        mine = lease(tmp_path)
        phase(ended, [sys.executable, "-c", code], tmp_path, mine, 2)
        assert f"{ended}: {ended}, " in capfd.readouterr().out
    again = lease(tmp_path)
    phase("cut", [sys.executable, "-c", "print('again')"], tmp_path, again, 60)
    assert capfd.readouterr().out == ""
    assert again.state["done"] == ["done", "failed", "cut"]


def test_a_phase_waits_for_a_command_that_has_time_for_it(tmp_path, capfd):
    phase("a", [sys.executable, "-c", "print('ran')"], tmp_path, lease(tmp_path, call=80), 60)
    assert capfd.readouterr().out == ""
    phase("a", [sys.executable, "-c", "print('ran')"], tmp_path, lease(tmp_path, call=100), 60)
    assert "ran" in capfd.readouterr().out


def test_the_tests_of_a_device_are_found():
    found = {Path(path).name for path in gpu.of_a_device()}
    assert found >= {"test_step_waiting.py", "test_order_statistics.py", "test_folded_copy.py"}


def test_commands_share_one_lease(tmp_path):
    first = lease(tmp_path, seconds=100, call=60)
    assert 59 < first.left() <= 60
    first.note(spent=80.0)
    second = lease(tmp_path, seconds=100, call=60)
    assert 19 < second.left() <= 20
    first.begin -= 30
    first.note()
    assert 69 < lease(tmp_path, seconds=100, call=90).left() <= 70


def test_rows_come_in_the_order_of_interest(tmp_path):
    ordered = pipeline(tmp_path, read(PILOT / "lent.yaml"), ORDER)
    attacked = [step.cmd[-2] for step in ordered if step.script == "attack"]
    assert attacked == list(ORDER)
    assert {step.script for step in ordered[-len(attacked) :]} == {"corrupt"}


TINY = {
    "datasets.folder.train_images": 20,
    "datasets.folder.validation": 4,
    "models.small_resnet.width": 8,
    "attack.images": 4,
    "attack.subset": {"aa": 2},
    "corrupt.images": 4,
    "corrupt.severities": [1],
    "corrupt.corruptions": ["fog"],
    "methods.rift.mrc_epochs": 1,
    "methods.rift.epochs": 1,
    "methods.generalist.begin": 1,
    "methods.ikl_at.begin": 1,
}
for _section in ("pretrain", "train"):
    TINY |= {f"{_section}.epochs": 1, f"{_section}.batch": 8, f"{_section}.drops": {}}
    TINY[f"{_section}.validate_attack.steps"] = 1


def test_a_lease_from_an_empty_folder_to_the_report_at_home(archive, tmp_path):
    overrides = tmp_path / "tiny.yaml"
    columns = read(PILOT / "params.yaml")["attack"]["columns"]
    columns["aa"] |= {"iterations": 2, "queries": 5}
    one_row = {"roles.teacher": "at", "report.against": ["at"], "grid.update": ["at"]}
    one_row |= {"grid.update_to_revise": [], "grid.update_from_natural_to_revise": []}
    YAML(typ="safe").dump(TINY | one_row | {"attack.columns": columns}, overrides)
    home, run = tmp_path / "home", tmp_path / "run"
    command = [sys.executable, "-m", "pilot.gpu", archive, "--folder", run, "--out", home, "--overrides", overrides]
    environment = os.environ | {"CURE_SCRATCH": str(tmp_path / "scratch"), "PYTHONPATH": str(ROOT)}
    run.mkdir()
    begun = {"spent": 0.0, "done": ["tests", "measures"], "sent": []}  # both have tests of their own
    (run / "lease.json").write_text(json.dumps(begun))
    (run / "measured.json").write_text(
        json.dumps({"device": "CPU", "torch": "", "model": "", "batch": 1, "measures": {}})
    )
    codes, limits = [], ["0.85"]  # of which a step gets six seconds, the grace taken off
    while not codes or codes[-1] == TO_DO:
        call = ["--call", limits.pop() if limits else "60"]
        done = subprocess.run([*map(str, command), *call], cwd=ROOT, env=environment, capture_output=True, text=True)
        codes.append(done.returncode)
    assert codes == [TO_DO, 0], done.stdout + done.stderr
    place = merge(home, tmp_path / "lent")
    assert place.name == "cpu"
    assert {path.name for path in place.iterdir()} >= {"params.yaml", "results", "curves", "provenance", "measured.md"}
    assert list(place.glob("weights/folder/small_resnet/*.safetensors"))
    said = subprocess.run([Path(sys.executable).with_name("cure"), "report", place], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "RiFT" in (place / "reports" / "table.md").read_text()


@pytest.fixture
def bench(tmp_path, monkeypatch):
    few = {measure: {"VALIDATION": 8, "ATTACKED": 4, "METHODS": ("at", "cure"), "WARM": 2}}
    few[bench_module] = {"SIZE": 8, "PROFILED": 1}
    for module, values in few.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    columns = read(PILOT / "params.yaml")["attack"]["columns"]
    columns["aa"] |= {"iterations": 2, "queries": 5}
    write_params(tmp_path / "params.yaml", TINY | {"attack.columns": columns, "run.deterministic": False})
    return measure.Bench(tmp_path, steps=1)


def test_every_measure_measures_something(bench):
    found = {name: act() for name, act in measure.measures(bench)}
    assert {name.split(",")[0] for name in found} >= {
        "step at",
        "step cure",
        "mask",
        "save",
        "attack",
        "validation",
        "aa",
    }
    assert all(value >= 0 for one in found.values() for value in one.values() if isinstance(value, float))
    assert found["step at, fp32, eager"]["epoch_s"] > 0
    assert found["save"]["mib"] > 0
    assert found["aa, tf32, graphs"]["survivors"] > 0
    names = {path.name for path in (bench.folder / "profiles").iterdir()}
    assert {"cure-bf16-graphs.txt", "mask.txt"} <= names


def test_a_measure_that_fails_is_told_and_the_next_one_begins(bench, monkeypatch, capfd):
    def broken(bench):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(
        measure, "measures", lambda bench: iter([("a", lambda: broken(bench)), ("b", lambda: {"s": 1.0})])
    )
    measure.main(bench.folder, 60, 1)
    found = json.loads((bench.folder / "measured.json").read_text())
    assert found["measures"]["b"] == {"s": 1.0}
    assert "no kernel image" in found["measures"]["a"]["error"]
    assert "| a | failed: RuntimeError: no kernel image |  |" in page(found)


def test_the_page_says_whether_a_bar_is_met():
    found = {"device": "NVIDIA H100", "torch": "2.11", "model": "resnet18", "batch": 128}
    for seconds, said in ((4.9, "epoch_s at most 5: met"), (5.1, "epoch_s at most 5: **not met**")):
        measures = {"step at, bf16, graphs": {"epoch_s": seconds}}
        assert said in page(found | {"measures": measures})


@pytest.mark.reliability("wrong inputs")
def test_a_run_keeps_its_settings(tmp_path):
    pipeline(tmp_path, {"train.epochs": 9})
    with pytest.raises(UserError, match="other settings; give them again, or name another --folder"):
        pipeline(tmp_path, {"train.epochs": 10})
    with pytest.raises(UserError, match=r"nothing\.epochs: nothing is not a section"):
        pipeline(tmp_path / "new", {"nothing.epochs": 4})
    with pytest.raises(UserError, match=r"train\.epochs"):
        pipeline(tmp_path / "new", {"train.epochs": -1})
    assert not (tmp_path / "new" / "params.yaml").exists()


@pytest.mark.reliability("wrong inputs")
def test_a_foreign_archive_is_refused(archive, tmp_path):
    def refused(*words):
        line = [sys.executable, "-m", "pilot.gpu", *map(str, words), "--folder", str(tmp_path / "run")]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert not (tmp_path / "run").exists()
        return done.stderr

    assert "has sha256 " in refused(archive, "--sha256", "0")
    assert "not found; name a tar archive" in refused(tmp_path / "none.tar")
    assert "has no value; write KEY=VALUE" in refused(archive, "-S", "train.epochs")
    with pytest.raises(UserError, match=r"has no results\.tar\.gz"):
        merge(tmp_path, tmp_path / "lent")
    (tmp_path / "results.tar.gz").write_bytes(archive.read_bytes()[:100])
    with pytest.raises(UserError, match="names no device"):
        merge(tmp_path, tmp_path / "lent")
