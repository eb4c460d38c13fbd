"""The command `cure` in a pipeline folder that DVC has reproduced."""

import hashlib
import json
import re
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.clone import (
    PRETRAIN,
    edited,
    outs_of_update,
)


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
    assert re.findall(r"^(\w+) +\d+\.\d\d", shown, re.MULTILINE) == ["Natural", "AT", "TRADES", "CURE"]


def test_cure_refuses_in_one_sentence(made):
    shown = made.run("cure", "eval", "weights/nothing.safetensors", expect=2)
    assert shown == "error: weights/nothing.safetensors: not found\n"


def test_cure_verify_runs_a_cell_again_and_finds_the_same_bytes(made):
    shown = made.run("cure", "verify", "digits/small/at-s0")
    lines = [line.split() for line in shown.splitlines() if re.match(r"\w+/digits/small/at-s0\S* ", line)]
    assert len(lines) == 8  # update: weights, trajectory, curve, sidecar; attack and corrupt: result, sidecar
    assert all(lock == again and said == "yes" for _, said, lock, again in lines)
    assert shown.splitlines()[-1] == "digits/small/at-s0: every output (8) has the bytes that dvc.lock records"
    assert "no longer as in dvc.lock" not in shown
    assert made.run("git", "status", "--porcelain") == ""


def test_cure_verify_tells_what_differs_and_which_input_is_another(made):
    def other_settings(path):
        path.write_text(path.read_text().replace("  weight_decay:", "  weight_decay: 0.01 #"))

    with edited(made.params, other_settings):
        shown = made.run("cure", "verify", PRETRAIN, "quickstart", folder=".", expect=3)
    assert f"{PRETRAIN}: no longer as in dvc.lock: params.yaml" in shown
    assert {line.split()[1] for line in shown.splitlines() if line.startswith("weights/")} == {"NO"}
    assert re.search(rf"{PRETRAIN}: \d of 4 outputs differ from dvc.lock: weights/", shown)
    assert made.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("digits/small/att-s0", "no stage and no run 'digits/small/att-s0'"),
        ("update@digits-small-at-1", "did you mean update@digits-small-at-0?"),
        ("report", "report is not a run; `git diff` shows"),
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
        (clone.quickstart / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
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
