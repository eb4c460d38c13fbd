"""`cure eval --claim`: a checkpoint beside what is published of its method and network."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cure.storage import checkpoint
from tests.support.command_line import FEW, call
from tests.support.stages import opened

CIFAR10 = "TRADES, ResNet-18, CIFAR-10"


@pytest.fixture
def theirs(trained, pipeline, tmp_path, monkeypatch):
    """Arguments that evaluate a checkpoint of somebody else on digits that pass for CIFAR-10."""
    about, tensors = opened(pipeline / "data/digits.safetensors")
    save_file(tensors, tmp_path / "cifar10.safetensors", metadata={"cure": json.dumps(about | {"name": "cifar10"})})
    torch.save(trained.state_dict(), tmp_path / "theirs.pt")
    made = "from cure.storage.checkpoint import build\ndef make():\n    return build('small', {'width': 8}, 1, 10)\n"
    (tmp_path / "a_resnet18_of_theirs.py").write_text(made)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield [
        *("theirs.pt", "--factory", "a_resnet18_of_theirs:make", "--data", "cifar10.safetensors"),
        *("--params", pipeline / "params.yaml"),
    ]
    sys.modules.pop("a_resnet18_of_theirs", None)


def test_it_prints_difference_interval_and_whether_they_can_agree(theirs):
    code, shown, said = call("eval", *theirs, *FEW, "--claim", "TRADES, ResNet-18")
    assert code in (0, 3), said
    lines = [line.strip() for line in shown.splitlines()]
    lines = [line for line in lines if re.match(r"(cure|rift|arat|lethesec|mair), ", line)]
    clean = next(line for line in lines if line.startswith("cure, Table 1 ") and " Clean " in line)
    assert re.search(r"82\.41 +\d+\.\d\d +[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\] +(yes|no)", clean)
    attacked = next(line for line in lines if line.startswith("cure, Table 1 ") and "PGD-20" in line)
    assert attacked.endswith("not known in full")
    assert any(re.search(r"AA +48\.37 +not measured +--attacks aa", line) for line in lines)
    assert any(re.search(r"lethesec, README \(reproduced\) +PGD-20 +51\.23 ", line) for line in lines)
    assert not any("Table 2" in line and line.startswith("cure") for line in lines)  # that is of other data sets
    assert "Newcombe" in shown
    assert "cure, Table 1: Copied from another paper" in " ".join(shown.split())


def test_json_and_results_hold_the_same_lines(theirs):
    _, shown, _ = call("eval", *theirs, *FEW, "--claim", CIFAR10, "--json", "--out", "out")
    (found,) = json.loads(shown)
    assert json.loads(Path("out/theirs/results.json").read_text())["published"] == found["published"]
    clean = next(
        line for line in found["published"] if line["measure"] == "clean" and line["source"] == "cure, Table 1"
    )
    measured = found["accuracy"]["clean"]
    assert clean["ours"] == pytest.approx(measured["accuracy"], abs=1e-6)
    assert clean["difference"] == pytest.approx(clean["ours"] - 0.8241)
    assert clean["low"] < clean["difference"] < clean["high"]
    assert clean["agrees"] is (clean["low"] <= 0 <= clean["high"])
    assert (clean["kind"], clean["images"], clean["differs"]) == ("claim", 40, [])
    unmeasured = next(line for line in found["published"] if line["measure"] == "aa")
    assert {unmeasured[key] for key in ("ours", "difference", "low", "high", "agrees", "column")} == {None}
    assert {line["kind"] for line in found["published"]} == {"claim", "reproduction"}


def test_without_the_option_nothing_published_is_told(theirs):
    _, shown, _ = call("eval", *theirs, *FEW, "--json")
    assert "published" not in json.loads(shown)[0]


def test_the_results_can_still_be_compared(theirs):
    for name in ("one", "two"):
        call("eval", *theirs, *FEW, "--claim", CIFAR10, "--out", name)
    code, shown, said = call("compare", "one/theirs", "two/theirs", "--json")
    assert code == 0, said
    assert {line["column"] for line in json.loads(shown)} == {"clean", "pgd20", "worst"}


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("TRDES, ResNet-18", "did you mean TRADES?"),
        ("ResNet-18", "names several rows; name one method and one model: "),
        ("TRADES, ResNet-18, CIFAR-100", "is about CIFAR-100, but the images are those of cifar10"),
    ],
)
def test_a_claim_that_cannot_be_meant_is_refused_before_any_attack(theirs, claim, said):
    code, shown, error = call("eval", *theirs, *FEW, "--claim", claim, "--out", "out")
    assert (code, shown) == (2, "")
    assert said in error
    assert not Path("out").exists()


def test_our_own_network_of_another_data_set_or_model_is_refused(weights, monkeypatch):
    monkeypatch.chdir(weights.parents[3])
    code, _, said = call("eval", weights, *FEW, "--claim", CIFAR10)
    assert code == 2
    assert "is about resnet18, but this network is small" in said


def test_a_checkpoint_of_vfd_says_that_it_is_a_reconstruction(weights, trained, monkeypatch, tmp_path):
    monkeypatch.chdir(weights.parents[3])
    about, _ = checkpoint.load(weights)
    path = tmp_path / "vfd-s0.safetensors"
    checkpoint.save(path, {"": trained.state_dict()}, about.model_copy(update={"method": "vfd"}))
    _, shown, said = call("eval", path, "--params", "params.yaml", "--data", "data/digits.safetensors", *FEW, "--json")
    assert "VFD is a reconstruction from the paper's abstract" in said
    assert json.loads(shown)[0]["notes"] == [
        "VFD is a reconstruction from the paper's abstract; neither code nor numbers were found."
    ]
