"""The pipeline under DVC, in a temporary clone: what runs, what does not, and that it ends in the same bytes."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from ruamel.yaml import YAML

from tests.closure import ROOT

pytestmark = pytest.mark.slow

EPOCHS = 5
FROM_NATURAL = "update_from_natural_to_revise"
ROWS = {"natural": "natural", "at": "update", "trades": "update", "cure": FROM_NATURAL}  # row -> its list in the grid
LOOKED_INTO = ["natural", "cure"]


def runs(stage, rows):
    """The stages that make or measure these rows of these lists, named by verb and list."""
    return {f"{stage}{listed}@digits-small-{row}-0" for row, listed in rows.items()}


def measured(rows):
    """Attack and corrupt of these rows."""
    return runs("attack_", rows) | runs("corrupt_", rows)


PREPARE, PRETRAIN = "prepare@digits", "pretrain@digits-small-0"
STUDIED, LAYERS = "pretrain@digits-small_resnet-0", "layers@digits-small_resnet-reinit-every-0"
AT, TRADES = "update@digits-small-at-0", "update@digits-small-trades-0"
CURE, REVISE = f"{FROM_NATURAL}@digits-small-cure-0", "revise_from_natural@digits-small-cure-0"
ROBUST = {AT, TRADES, CURE}
ATTACKS, CORRUPTS = runs("attack_", ROWS), runs("corrupt_", ROWS)
ANALYSES = {f"analyse@digits-small-{row}-0" for row in LOOKED_INTO}
STAGES = {PREPARE, PRETRAIN, STUDIED, LAYERS, *ROBUST, REVISE, *ATTACKS, *CORRUPTS, *ANALYSES, "report"}

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
        """A process that runs meanwhile; it ends, with all that it started, at the end of the block."""
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
        shutil.copytree(self.root, place / "clone", symlinks=True)
        (place / "scratch").mkdir()
        return Clone(place / "clone", place / "scratch")

    def changed_stages(self):
        status = json.loads(self.run("dvc", "status", "--json", "dvc.yaml"))
        return {name.split(":")[-1] for name in status}

    def resume_file(self):
        return next(self.scratch.glob("*.pt"), None)


def ran(output):
    return re.findall(r"^Running stage '(?:.*:)?([^:']+)':$", output, re.MULTILINE)


def shrink(text):
    """The same lines with smaller values and fewer rows: what DVC does to this file it does to the committed."""
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
    text = out.getvalue()
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


def append_a_comment(path):
    with path.open("a") as file:
        file.write("# edited\n")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """The working tree with a tiny quickstart that was never run."""
    place = tmp_path_factory.mktemp("repro")
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


@pytest.fixture(scope="session")
def first(fresh):
    """What the one repro printed; afterwards its results are committed."""
    output = fresh.run("dvc", "repro", "quickstart/dvc.yaml", folder=".")
    fresh.commit()
    return output


@pytest.fixture(scope="session")
def made(fresh, first):
    """The tiny quickstart, reproduced and committed. Whoever changes it for good takes a copy."""
    return fresh


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


def update(method):
    return [sys.executable, "../stages/update.py", "digits", "small", method, "0"]


def outs_of_update(clone, method):
    folders = {"trajectories", "curves", "provenance"} | ({"weights"} if ROWS[method] == "update" else set())
    files = [path for folder in folders for path in clone.quickstart.glob(f"{folder}/digits/small/{method}-*")]
    files = [path for path in files if not path.stem.endswith(("-revise", "-attack", "-corrupt", "-analyse"))]
    return {path.relative_to(clone.quickstart).parts[0]: path for path in files}


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
