"""`cure plan`: counts against the formulas of the methods, states against dvc.lock, time against a real run."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cure import catalogue
from cure.data.prepare import prepare
from cure.errors import UserError
from cure.pipeline.planning import command, step_profile, tasks
from cure.pipeline.planning.command import as_json, build_cost_model, total
from cure.pipeline.planning.cost_model import CostModel, Estimate
from cure.pipeline.planning.facts import Facts
from cure.pipeline.planning.measuring import corrupting
from cure.pipeline.planning.tasks import Task
from cure.pipeline.planning.training import revision, training
from cure.settings.params import Params, read
from cure.storage.checkpoint import build
from cure.storage.paths import Run
from cure.training.job import Job
from cure.training.train_run import execute
from tests.support.project import ROOT

AT = Task("update@digits-small-at-0", "update", Run("digits", "small", "at", 0))
NATURAL = Task("pretrain@digits-small-0", "pretrain", Run("digits", "small", "natural", 0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The quickstart with a tiny schedule: every method for three epochs."""
    text = (ROOT / "quickstart" / "params.yaml").read_text()
    text = text.replace("  epochs: 25\n", "  epochs: 3\n", 1).replace("    19: 0.1\n    23: 0.01\n", "    2: 0.1\n", 1)
    for key in ("begin: 10", "begin: 8", "begin: 6", "begin: 3", "begin: 2"):
        text = text.replace(key, "begin: 1")
    (tmp_path / "params.yaml").write_text(text)
    return tmp_path


@pytest.fixture
def counting(folder: Path) -> CostModel:
    """A cost model that times nothing: 1 GFLOP/s."""
    return CostModel(
        Facts(folder, read(folder / "params.yaml")), torch.device("cpu"), 1e9, time.process_time, 0.0, print
    )


def test_operations_of_a_forward_are_two_for_each_multiplication() -> None:
    net = build("small", {"width": 4}, 1, 10)
    pixels = 8 * 8
    multiplications = 9 * (4 * pixels + 4 * 8 * pixels // 4 + 8 * 8 * pixels // 4) + 8 * 10
    assert step_profile.forward_flops(net, 1, 8) == 2 * multiplications


def test_resnet18_needs_what_its_cost_model_says() -> None:
    with torch.device("meta"):
        net = build("resnet18", {}, 3, 10)
    assert step_profile.forward_flops(net, 3, 32) / 2 == pytest.approx(0.555e9, rel=0.005)


def test_what_a_graph_holds_is_counted_once_and_until_it_is_gone() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6))
    with step_profile.holding(3) as most:
        for _ in range(2):
            net(torch.rand(3, 4)).sum().backward()
    assert most[0] == 4 * 3 * (4 + 5)  # x, and the ReLU's output, which two operations need


@pytest.mark.parametrize(
    ("method", "passes"),
    [("natural", 3), ("at", 23), ("trades", 27), ("mart", 26), ("cure", 33), ("arat", 26), ("fat", 23)],
)
def test_a_step_takes_the_passes_that_the_methods_page_names(counting: CostModel, method: str, passes: int) -> None:
    assert counting.count(Run("digits", "small", method, 0), 3).passes == pytest.approx(passes, abs=0.2)


def test_a_training_is_its_steps_and_its_looks_at_validation(counting: CostModel) -> None:
    found = training(AT, counting)
    extent, validation = counting.facts.extent("digits"), 240
    step = counting.count(AT.run, 3).passes
    assert found.passes == pytest.approx(3 * extent.train * step + 3 * validation * 22)
    assert found.seconds == pytest.approx(found.flops / 1e9)
    weights = 4 * sum(t.numel() for t in counting.facts.fresh("digits", "small").state_dict().values())
    assert found.disk == pytest.approx(5 * weights, rel=0.05)  # last, best, two snapshots, and the network


def test_a_warm_up_of_natural_epochs_costs_less(counting: CostModel) -> None:
    eff = Task("x", "update", Run("digits", "small", "cure_eff", 0))
    section, epochs = counting.facts.raw["methods"]["cure_eff"]["update"], counting.facts.training(eff.run)[2].epochs
    section["begin"] = epochs
    late = training(eff, counting).passes
    section["begin"] = 1
    assert late < 0.6 * training(eff, counting).passes


def test_consolidation_is_counted_per_image(counting: CostModel) -> None:
    cure = Task("x", "revise", Run("digits", "small", "cure", 0))
    looks = revision(cure, counting).passes / (240 * 22)
    assert looks == round(looks) >= 2  # CURE scores its networks on the validation split and trains nothing
    rift = Task("x", "revise", Run("digits", "small", "rift", 0))
    assert revision(rift, counting).passes > 3 * 11 * 240 * 22  # three walks of eleven points


def test_every_corruption_is_a_forward_of_every_image(counting: CostModel) -> None:
    suite = counting.facts.raw["corrupt"]
    images = min(counting.facts.extent("digits").test, suite["images"])
    wanted = images * (1 + len(suite["corruptions"]) * len(suite["severities"]))
    assert corrupting(Task("x", "corrupt", AT.run), counting).passes == wanted


@pytest.mark.parametrize("dataset", [n for n in catalogue.names("datasets") if catalogue.entry("datasets", n).FILES])
def test_a_published_data_set_is_planned_before_it_is_there(dataset: str, tmp_path: Path) -> None:
    facts = Facts(tmp_path, read(ROOT / "params.yaml"))
    extent = facts.extent(dataset)
    assert extent.train == catalogue.entry("datasets", dataset).EXTENT.train - 1000


FACTOR = 3


def test_the_estimated_time_is_that_of_a_real_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # process CPU time of one thread, so that other work on the machine does not count
    from cure.datasets import digits
    from cure.storage import resume

    monkeypatch.setattr(resume, "FOLDER", tmp_path / "scratch")
    monkeypatch.chdir(folder)
    raw = read(folder / "params.yaml")
    entry = catalogue.entry("methods", "at")
    hyper = Params(raw, ["datasets.digits"], "digits").get("datasets.digits", digits.Hyper)
    prepare("digits", hyper, folder / "data/digits.safetensors")
    declared = ["run", "threat", "train", "datasets.digits.augment", "models.small", "methods.at"]
    params = Params(raw, declared, "digits", "small")
    on = CostModel(Facts(folder, raw), torch.device("cpu"), None, time.process_time, 0.0, print)
    expected = training(AT, on).seconds
    begin = time.process_time()
    execute(Job("update", AT.run, params, entry.METHOD, *params.method("methods.at", entry.METHOD.hyper)))
    spent = time.process_time() - begin
    assert spent / FACTOR < expected < spent * FACTOR


def stage(name: str, cmd: str, deps: dict[str, bool], outs: dict[str, bool], cmd_changed: bool = False):
    """A stage as DVC has it; a part whose flag is false differs from dvc.lock."""
    parts = [
        [SimpleNamespace(fs_path=path, status=lambda same=same: {} if same else {"": "modified"}) for path, same in of]
        for of in (deps.items(), outs.items())
    ]
    return SimpleNamespace(name=name, cmd=cmd, deps=parts[0], outs=parts[1], cmd_changed=cmd_changed)


@pytest.mark.parametrize("broken", ["dep", "out", "cmd", "parent", ""])
def test_a_stage_is_done_if_nothing_that_it_builds_on_changed(broken: str) -> None:
    first = stage("a", "x", {"code": broken != "parent"}, {"weights": True})
    second = stage("b", "x", {"weights": True, "data": broken != "dep"}, {"result": broken != "out"}, broken == "cmd")
    assert ("b" in tasks._done([first, second])) == (broken == "")


def test_commands_name_their_runs() -> None:
    of = {
        "pretrain": "python ../stages/pretrain.py digits small 3",
        "update": "python ../stages/update.py digits small at 3",
        "layers": "python ../stages/layers.py digits small_resnet reinit every 3",
        "report": "python ../stages/report.py",
    }
    found = {kind: tasks._task(stage(kind, cmd, {}, {}), False) for kind, cmd in of.items()}
    assert found["report"] is None
    assert [found[kind].run.name for kind in ("pretrain", "update", "layers")] == [
        "digits/small/natural-s3",
        "digits/small/at-s3",
        "digits/small_resnet/reinit-every-s3",
    ]
    assert found["layers"].group == "every"


def cost(seconds: float, memory: int) -> Estimate:
    return Estimate(passes=1.0, flops=2.0, seconds=seconds, memory=memory, disk=5, resume=memory)


def test_what_is_done_is_shown_and_not_counted(counting: CostModel) -> None:
    done = Task("d", "update", AT.run, done=True)
    found = [(done, cost(9.0, 9)), (AT, cost(1.0, 3)), (NATURAL, cost(2.0, 1))]
    assert total(found) == Estimate(passes=2.0, flops=4.0, seconds=3.0, memory=3, disk=10, resume=3)
    said = as_json(found, counting)
    assert json.loads(json.dumps(said)) == said
    assert [line["done"] for line in said["stages"]] == [True, False, False]
    assert said["kinds"]["update"]["seconds"] == 1


def test_the_first_word_may_be_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.folder_and_names([str(folder), "a", "b"]) == (folder, ["a", "b"])
    assert command.folder_and_names(["digits/small/at-s0"]) == (Path(), ["digits/small/at-s0"])
    assert command.folder_and_names([]) == (Path(), [])


@pytest.mark.reliability("wrong inputs")
def test_wrong_words_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"--tflops -1: not a speed"):
        command.show([str(folder)], "auto", -1.0, False)
    with pytest.raises(UserError, match=r"--device tpu: .* cpu, cuda or auto"):
        build_cost_model(Facts(folder, {}), "tpu", 1.0)


@pytest.mark.reliability("wrong inputs")
def test_a_wrong_name_is_told_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such(*_: object) -> None:
        raise UserError("plan: no stage and no run 'ta'")

    monkeypatch.setattr(command, "tasks", no_such)
    monkeypatch.setattr(command, "build_cost_model", lambda *_: pytest.fail("a machine was timed for nothing"))
    with pytest.raises(UserError, match="no stage and no run 'ta'"):
        command.show([str(ROOT / "quickstart"), "ta"], "auto", None, False)


def test_a_plan_of_the_quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "quickstart", clone / "quickstart", ignore=shutil.ignore_patterns("reports", "dvc.lock"))
    for name in ("cure", "stages"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".dvc", clone / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    subprocess.run(["git", "init", "-q", clone], check=True)
    command.show([str(clone / "quickstart"), "digits/small/at-s0"], "auto", 1.0, True)
    said = json.loads(capsys.readouterr().out)
    assert [line["kind"] for line in said["stages"]] == ["update", "attack", "corrupt", "analyse"]
    assert all(line["flops"] > 0 and not line["done"] for line in said["stages"])
    with pytest.raises(UserError, match="no stage and no run 'digits/small/ta-s0', did you mean digits/small/"):
        command.show([str(clone / "quickstart"), "digits/small/ta-s0"], "auto", 1.0, True)
