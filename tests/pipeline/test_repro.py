"""The pipeline under DVC, in a temporary clone: what runs, what does not, and that it ends in the same bytes."""

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from ruamel.yaml import YAML

from tests.support.clone import (
    ANALYSES,
    AT,
    ATTACKS,
    CORRUPTS,
    CURE,
    EPOCHS,
    FROM_NATURAL,
    LAYERS,
    PREPARE,
    PRETRAIN,
    REVISE,
    ROBUST,
    ROWS,
    STAGES,
    STUDIED,
    TRADES,
    Clone,
    edited,
    measured,
    outs_of_update,
    ran,
    runs,
    set_param,
    update,
)

pytestmark = pytest.mark.slow


PARAMS = {  # a changed value -> the stages that see it themselves; what lies downstream follows their outs
    "alpha": (0.5, {CURE}),
    "methods.cure.revise.network": ("last", {REVISE}),
    "methods.trades.beta": (3, {TRADES}),
    "methods.at.attack.steps": (3, {AT, LAYERS}),
    "pretrain.lr": (0.05, {PRETRAIN, STUDIED}),
    "train.lr": (0.05, {*ROBUST, REVISE, LAYERS}),
    "threat.eps": (0.14, {PRETRAIN, STUDIED, LAYERS, *ROBUST, REVISE, *ATTACKS, *ANALYSES, "report"}),
    "models.small.width": (8, {PRETRAIN, *ROBUST}),
    "models.small_resnet.width": (16, {STUDIED, LAYERS}),
    "layers.update.freeze_stem": (False, {LAYERS}),
    "layers.blocks.every.u1": (["layer2"], {LAYERS}),
    "layers.blocks.more": ({"u3": ["layer3"]}, set()),  # nobody asks for it
    "datasets.digits.augment.crop": (0, {PREPARE, PRETRAIN, STUDIED, LAYERS, *ROBUST, REVISE}),
    "attack.columns.pgd20.steps": (3, {*ATTACKS, "report"}),
    "attack.subset.aa": (30, {*ATTACKS, "report"}),
    "corrupt.severities": ([1], CORRUPTS),
    "report.title": ("Another", {"report"}),
    "report.figures": (["curves"], {"report"}),
    "train.snapshots": ([0.25], {*ROBUST, REVISE, LAYERS}),
    "analyse.images": (30, ANALYSES),
    "grid.seeds": ([0, 1], {f"{stage[:-1]}1" for stage in STAGES if stage.endswith("-0")} | {"report"}),
}
CODE = {  # an edited file -> the stages that run it
    "cure/methods/trades.py": {TRADES},
    "cure/models/small.py": {PRETRAIN, *ROBUST, REVISE, *ATTACKS, *CORRUPTS, *ANALYSES},
    "cure/models/small_resnet.py": {STUDIED, LAYERS},
    "cure/training/layerwise.py": {LAYERS},
    "cure/nn/freezing.py": {PRETRAIN, STUDIED, *ROBUST, REVISE, LAYERS, *ATTACKS, *ANALYSES},  # what folding knows
    "cure/datasets/digits.py": {PREPARE},
    "cure/attacks/pgd.py": ATTACKS,
    "cure/evaluation/driver.py": ATTACKS,
    "cure/corruptions/contrast.py": CORRUPTS,
    "cure/reporting/table.py": {"report"},
    "cure/figures/masks.py": {"report"},
    "cure/figures/another.py": {"report"},
    "cure/analyses/masks.py": ANALYSES,
    "cure/analyses/cka.py": ANALYSES,
    "cure/attacks/left_over.pyc": set(),
}


TOY = '''"""TOY: adversarial training by the Brier score, sum_k (p_k - 1[k = y])^2, p = softmax f(x')."""

import torch.nn.functional as F

from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Method
from cure.settings.base import MethodSettings, Search


class Hyper(MethodSettings):
    """The attack."""

    attack: Search


def attack(nets, batch, hyper):
    """x' = PGD on CE."""
    return {"adv": pgd(nets.student, batch, hyper.attack, ce_objective)}


def loss(nets, batch, hyper):
    """The Brier score of x'."""
    p = nets.student(batch.x_adv).softmax(dim=1)
    return {"robust": (1.0, (p - F.one_hot(batch.y, p.shape[1])).square().sum(dim=1))}


METHOD = Method(cite="nobody", hyper=Hyper, loss=loss, attack=attack)
'''


def append_a_comment(path):
    with path.open("a") as file:
        file.write("# edited\n")


@pytest.fixture(scope="session")
def forced(made, tmp_path_factory):
    """A copy of `made` in which everything is run again, meanwhile, and its process."""
    clone = made.copy(tmp_path_factory.mktemp("forced"))
    with clone.started("dvc", "repro", "-f", "--no-run-cache", "dvc.yaml") as process:
        yield clone, process


@pytest.fixture(scope="session")
def tried(made, tmp_path_factory):
    """A copy of `made` after `dvc exp run -S alpha=0.5`, and what that printed."""
    clone = made.copy(tmp_path_factory.mktemp("tried"))
    return clone, clone.run("dvc", "exp", "run", "-S", "alpha=0.5")


@pytest.fixture(scope="session")
def extended(made, tmp_path_factory):
    """A copy of `made` with a method of a newcomer, reproduced, and what that printed."""
    clone = made.copy(tmp_path_factory.mktemp("extended"))
    (clone.root / "cure/methods/toy.py").write_text(TOY)
    text = clone.params.read_text()
    for before, line in (
        ("  update:\n", "  - toy\n"),
        ("methods:\n", "  toy: {attack: {steps: 2, start: uniform, clip_start: true}}\n"),
    ):
        text = text.replace(before, before + line, 1)
    clone.params.write_text(text)
    return clone, clone.run("dvc", "repro", "quickstart/dvc.yaml", folder=".")


def test_a_fresh_clone_runs_every_stage_once(first):
    assert sorted(ran(first)) == sorted(STAGES)


def test_the_lock_file_knows_these_stages_and_their_files_are_there(made):
    lock = YAML(typ="safe").load((made.quickstart / "dvc.lock").read_text())["stages"]
    assert set(lock) == STAGES
    outs = [out["path"] for stage in lock.values() for out in stage["outs"]]
    assert [out for out in outs if not (made.quickstart / out).exists()] == []


def test_the_report_has_every_row(made):
    metrics = json.loads((made.quickstart / "reports/metrics.json").read_text())
    assert list(metrics["digits/small"]) == list(ROWS)


def test_a_second_repro_runs_nothing(made):
    output = made.run("dvc", "repro", "quickstart/dvc.yaml", folder=".")
    assert ran(output) == []
    assert "up to date" in output
    assert made.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize("key", PARAMS)
def test_a_changed_param_reaches_the_stages_that_read_it(made, key):
    value, expected = PARAMS[key]
    with edited(made.params, set_param(key, value)):
        assert made.changed_stages() == expected


@pytest.mark.parametrize("name", CODE)
def test_an_edited_file_reaches_the_stages_that_run_it(made, name):
    with edited(made.root / name, append_a_comment):
        assert made.changed_stages() == CODE[name]


def test_a_deleted_result_comes_back_as_it_was(made, tmp_path):
    clone, attack, update = made.copy(tmp_path), "attack_update@digits-small-at-0", AT
    lock = YAML(typ="safe").load((clone.quickstart / "dvc.lock").read_text())["stages"]
    outs = [out for stage in (attack, update) for out in lock[stage]["outs"]]
    lost = {out["path"]: out["md5"] for out in outs if "provenance" not in out["path"]}  # runs share these
    before = {name: (clone.quickstart / name).read_bytes() for name in [*lost, "reports/index.html"]}
    for name, digest in lost.items():  # from the cache too, so that it must be computed again
        (clone.quickstart / name).unlink()
        (clone.root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
    for name in ("index.html", "table.md", "figures/tradeoff.png"):  # made.json remembers the commit
        (clone.quickstart / "reports" / name).unlink()
    output = clone.run("dvc", "repro", "--no-run-cache", "dvc.yaml")
    assert set(ran(output)) == {attack, update, "report"}
    assert {name: (clone.quickstart / name).read_bytes() for name in before} == before
    assert clone.run("git", "status", "--porcelain") == ""


@pytest.mark.usefixtures("forced")  # a long run on the second core, judged at the end of this file
def test_another_alpha_runs_cure_and_the_report_alone(tried):
    _, output = tried
    analysed = "analyse@digits-small-cure-0"
    assert sorted(ran(output)) == sorted({CURE, REVISE, *measured({"cure": FROM_NATURAL}), analysed, "report"})


def test_another_alpha_changes_one_line_of_params(tried):
    clone, _ = tried
    assert clone.run("git", "diff", "--numstat", "params.yaml").split() == ["1", "1", "quickstart/params.yaml"]


def test_metrics_diff_shows_cure_alone(tried):
    clone, _ = tried
    shown = clone.run("dvc", "metrics", "diff")
    assert set(re.findall(r"digits/small\.(\w+)\.", shown)) == {"cure"}


def test_plots_diff_lays_the_curves_of_both_over_each_other(tried):
    clone, _ = tried
    shown = clone.run("dvc", "plots", "diff", "--targets", "dvc.yaml", "--json")
    found, _ = json.JSONDecoder().raw_decode(shown[shown.index("{") :])
    assert found.get("errors", []) == []
    (curves,) = found["data"]["robust overfitting"]
    assert set(curves["revisions"]) == {"HEAD", "workspace"}
    lines = curves["content"]["data"]["values"]
    before, now = (
        {(one["method"], one["epoch"], one["val_pgd"]) for one in lines if one["rev"] == rev}
        for rev in ("HEAD", "workspace")
    )
    assert {method for method, _, _ in now - before} == {"cure"}


def test_params_diff_shows_alpha_alone(tried):
    clone, _ = tried
    changes = [line.split() for line in clone.run("dvc", "params", "diff").splitlines()[1:]]
    assert [(name, now) for _, name, _, now in changes] == [("alpha", "0.5")]


def test_the_table_of_experiments_names_alpha_and_cure(tried):
    clone, _ = tried
    shown = clone.run("dvc", "exp", "show", "--only-changed")
    assert re.search(r"\balpha\b", shown)
    assert re.search(r"\bcure\.clean\b", shown)
    assert not re.search(r"\btrades\.clean\b", shown)


def test_a_new_method_is_one_file_and_two_lines_of_params(extended):
    clone, _ = extended
    changed = clone.run("git", "status", "--porcelain", "-uall", folder=".").splitlines()
    ours = {line[3:] for line in changed if not line[3:].startswith(("quickstart/reports/", "quickstart/dvc.lock"))}
    assert ours == {"cure/methods/toy.py", "quickstart/params.yaml"}
    assert clone.run("git", "diff", "--numstat", "params.yaml").split()[:2] == ["2", "0"]


def test_a_new_method_runs_its_own_cells_and_the_report_alone(extended):
    _, output = extended
    own = {"toy": "update"}
    assert sorted(ran(output)) == sorted({*runs("", own), *measured(own), "report"})


def test_a_new_method_has_a_row_and_a_curve(extended):
    clone, _ = extended
    metrics = json.loads((clone.quickstart / "reports/metrics.json").read_text())
    assert list(metrics["digits/small"]) == [*ROWS, "toy"]
    assert ",toy," in (clone.quickstart / "reports/curves.csv").read_text()


def killed_midway(made, place, method):
    """A copy of `made` in which the training of one run was killed without warning after its first epochs."""
    clone = made.copy(place)
    for path in outs_of_update(clone, method).values():
        path.unlink()
    with clone.started(*update(method)) as victim:
        while victim.poll() is None and not clone.resume_file():
            time.sleep(0.01)
        assert victim.poll() is None, (clone.scratch / "output").read_text()
    assert outs_of_update(clone, method) == {}
    return clone


def resumed(clone, method):
    clone.run(*update(method))
    return {name: path.read_bytes() for name, path in outs_of_update(clone, method).items()}


def state_of(resume_file):
    return torch.load(resume_file, weights_only=True)


def test_killed_and_run_again_it_ends_in_the_same_bytes(made, tmp_path):
    clone = killed_midway(made, tmp_path, "cure")
    assert 1 <= len(state_of(clone.resume_file())["kept"]["history"]) < EPOCHS
    undisturbed = {name: path.read_bytes() for name, path in outs_of_update(made, "cure").items()}
    assert set(undisturbed) == {"trajectories", "curves", "provenance"}
    assert resumed(clone, "cure") == undisturbed
    assert clone.resume_file() is None


def test_run_again_it_continues_where_it_was_killed(made, tmp_path):
    clone = killed_midway(made, tmp_path, "trades")
    state = state_of(clone.resume_file())
    state["kept"]["history"][0]["lr"] = 7.0  # a mark that only a resumed run carries on
    torch.save(state, clone.resume_file())
    expected = {name: path.read_bytes() for name, path in outs_of_update(made, "trades").items()}
    assert set(expected) == {"weights", "trajectories", "curves", "provenance"}
    expected["curves"] = re.sub(rb"(?m)^1,[^,]+,", b"1,7.0,", expected["curves"])
    assert resumed(clone, "trades") == expected


@pytest.mark.parametrize("stage", ["attack", "corrupt"])
def test_an_evaluation_that_was_killed_continues_and_ends_in_the_same_bytes(made, tmp_path, stage):
    clone = made.copy(tmp_path)
    result = clone.quickstart / f"results/digits/small/at-s0-{stage}.json"
    undisturbed = result.read_bytes()
    result.unlink()
    command = [sys.executable, f"../stages/{stage}.py", "digits", "small", "at", "0"]
    with clone.started(*command) as victim:
        while victim.poll() is None and not any(clone.scratch.glob("*/*.safetensors")):
            time.sleep(0.001)
        assert victim.poll() is None, (clone.scratch / "output").read_text()
    assert any(clone.scratch.glob("*/*.safetensors"))
    assert not result.exists()
    clone.run(*command)
    assert result.read_bytes() == undisturbed
    assert not any(clone.scratch.glob("*/*.safetensors"))


def evaluated(clone, *words, folder="quickstart"):
    """Network -> column -> accuracy in percent, as `cure eval --json` says it; a doubt about itself is no failure."""
    place = {"cwd": clone.root / folder, "env": clone.environment, "capture_output": True, "text": True}
    done = subprocess.run(["cure", "eval", *words, "--json"], timeout=600, **place)
    assert done.returncode in (0, 3), done.stderr
    return {
        one["subject"]: {name: round(100 * column["accuracy"], 2) for name, column in one["accuracy"].items()}
        for one in json.loads(done.stdout)
    }


@pytest.mark.parametrize("method", ["natural", "cure"])
def test_cure_eval_has_the_numbers_of_the_stage_attack(made, method):
    (found,) = evaluated(made, f"weights/digits/small/{method}-s0.safetensors").values()
    result = json.loads((made.quickstart / f"results/digits/small/{method}-s0-attack.json").read_text())
    flags = {name: outcome.replace("-", "") for name, outcome in result["outcomes"].items() if name != "worst"}
    wanted = {name: round(100 * seen.count("1") / len(seen), 2) for name, seen in flags.items()}
    worst = found.pop("worst")
    assert found == wanted
    assert worst <= min(wanted[name] for name in ("aa", "min_linf"))  # the probes of the masking report count as well


def test_cure_eval_shows_every_network_of_a_trajectory(made):
    path = made.quickstart / "trajectories/digits/small/cure-s0.safetensors"
    assert set(evaluated(made, str(path), "--attacks", "clean", folder=".")) == {
        f"cure-s0:{name}" for name in ("best", "last", "revision")
    }


def test_cure_table_prints_the_table_of_the_report(made):
    shown = made.run("cure", "table", "quickstart", folder=".")
    assert ": digits/small" in shown.splitlines()[0]
    assert re.findall(r"^ (\w+) +\d+\.\d\d", shown, re.MULTILINE) == ["Natural", "AT", "TRADES", "CURE"]


def test_cure_refuses_in_one_sentence(made):
    shown = made.run("cure", "eval", "weights/nothing.safetensors", expect=2)
    assert shown == "error: weights/nothing.safetensors: not found\n"


def test_cure_verify_runs_a_cell_again_and_finds_the_same_bytes(made):
    shown = made.run("cure", "verify", "digits/small/at-s0")
    lines = [line.split("│")[1:5] for line in shown.splitlines() if "-s0" in line and "│" in line]
    assert len(lines) == 8  # update: weights, trajectory, curve, sidecar; attack and corrupt: result, sidecar
    assert all(lock == again and said.strip() == "yes" for _, lock, again, said in lines)
    assert "no longer as in dvc.lock" not in shown
    assert made.run("git", "status", "--porcelain") == ""


def test_cure_verify_tells_what_differs_and_which_input_is_another(made):
    def other_settings(path):
        path.write_text(path.read_text().replace("  weight_decay:", "  weight_decay: 0.01 #"))

    with edited(made.params, other_settings):
        shown = made.run("cure", "verify", PRETRAIN, "quickstart", folder=".", expect=3)
    assert f"{PRETRAIN}: no longer as in dvc.lock: params.yaml" in shown
    assert {line.split("│")[4].strip() for line in shown.splitlines() if "weights/" in line} == {"NO"}
    assert made.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("digits/small/att-s0", "no stage and no run 'digits/small/att-s0'"),
        ("update@digits-small-at-1", "did you mean update@digits-small-at-0?"),
        ("report", "report is the report stage, not a run"),
    ],
)
def test_cure_verify_refuses_what_is_no_cell(made, run, said):
    assert said in made.run("cure", "verify", run, expect=2)


def test_without_device_and_network_the_paper_says_so_before_any_work(fresh, tmp_path):
    offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    offline |= {"no_proxy": "", "NO_PROXY": "", "CUDA_VISIBLE_DEVICES": "", "CURE_DOWNLOADS": str(tmp_path / "empty")}
    said = fresh.run(sys.executable, "stages/prepare.py", "cifar10", folder=".", expect=2, **offline)
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert "run.device is cuda" in said
    assert "cifar-10-python.tar.gz is not in" in said
    assert "cannot be downloaded" in said
    assert not (fresh.root / "data").exists()


def test_cure_grid_trains_a_lost_cell_again_and_a_worker_that_dies_costs_no_bit(made, tmp_path):
    clone = made.copy(tmp_path)
    expected = {path: path.read_bytes() for path in outs_of_update(clone, "at").values()}
    for path, content in expected.items():  # and the copies of which DVC's run cache would make them again
        digest = hashlib.md5(content).hexdigest()
        (clone.root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
        path.unlink()
    with clone.started("cure", "grid", "--workers", "2") as driver:
        while driver.poll() is None and not clone.resume_file():
            time.sleep(0.01)
        stage = psutil.Process(int(clone.resume_file().with_suffix(".lock").read_text()))
        _, _, worker = stage.parents()[:3]  # above DVC and its keeper
        worker.kill()
        code, output = driver.wait(), (clone.scratch / "output").read_text()
    assert code == 0, output
    assert "attempt 2" in output
    assert {path: path.read_bytes() for path in expected} == expected
    assert clone.run("git", "status", "--porcelain") == ""  # dvc.lock and the report


@pytest.fixture(scope="session")
def shared(made, tmp_path_factory):
    """A copy of `made` whose files and run cache were pushed to a folder."""
    clone = made.copy(tmp_path_factory.mktemp("shared"))
    clone.run("dvc", "remote", "add", "-d", "lab", str(clone.scratch / "lab"), folder=".")
    clone.commit()
    clone.run("dvc", "push", "--run-cache", folder=".")
    return clone


def cloned(origin, place):
    origin.run("git", "clone", "-q", str(origin.root), str(place / "clone"), folder=".")
    (place / "scratch").mkdir()
    return Clone(place / "clone", place / "scratch")


def everything(clone):
    folders = ("data", "weights", "trajectories", "curves", "results", "provenance", "reports")
    files = [path for name in folders for path in (clone.quickstart / name).rglob("*") if path.is_file()]
    return {path.relative_to(clone.root): path.read_bytes() for path in files}


def test_a_second_clone_pulls_every_figure_and_result_and_trains_nothing(shared, tmp_path):
    clone = cloned(shared, tmp_path)
    clone.run("dvc", "pull", "quickstart/dvc.yaml", folder=".")
    assert everything(clone) == everything(shared)
    assert ran(clone.run("dvc", "repro", "quickstart/dvc.yaml", folder=".")) == []
    assert clone.run("git", "status", "--porcelain") == ""


def test_after_the_loss_of_dvc_lock_the_run_cache_of_the_remote_gives_a_row_back(shared, tmp_path):
    clone = cloned(shared, tmp_path)
    (clone.quickstart / "dvc.lock").unlink()
    measured_cure = f"attack_{FROM_NATURAL}@digits-small-cure-0"
    assert ran(clone.run("dvc", "repro", "--pull", measured_cure)) == []
    found, whole = everything(clone), everything(shared)
    assert Path("quickstart/results/digits/small/cure-s0-attack.json") in found
    assert found.items() <= whole.items()


def test_forced_again_it_ends_in_the_same_bytes(forced):
    clone, process = forced
    code, output = process.wait(), (clone.scratch / "output").read_text()
    assert code == 0, output
    assert sorted(ran(output)) == sorted(STAGES)
    assert clone.run("git", "status", "--porcelain") == ""
