"""`cure eval` in the L2 ball and on corruptions, and what `cure compare` makes of two threat models."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch

from cure.core.attack import distance
from cure.core.corruption import BENCHMARK
from cure.data.generated_corruptions import lacking
from cure.data.loader import as_float, evenly_spaced
from tests.support.command_line import call

L2 = ["--norm", "l2", "--attacks", "clean,pgd20,aa,min_l2", "--n", "40"]


@pytest.fixture
def run(weights, monkeypatch):
    """The `cure` command inside the pipeline's folder."""
    monkeypatch.chdir(weights.parents[3])
    return call


def made(pipeline, folder, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pipeline)
        code, shown, said = call("eval", *words, "--out", folder)
    assert code in (0, 3), said
    return shown, said, folder / "natural-s0"


@pytest.fixture(scope="module")
def in_l2(pipeline, weights, tmp_path_factory):
    return made(pipeline, tmp_path_factory.mktemp("l2"), weights, *L2)


@pytest.fixture(scope="module")
def in_linf(pipeline, weights, tmp_path_factory):
    return made(pipeline, tmp_path_factory.mktemp("linf"), weights, "--attacks", "clean,pgd20", "--n", "40")


@pytest.fixture(scope="module")
def corrupted(pipeline, weights, tmp_path_factory):
    words = [weights, "--attacks", "clean", "--n", "40", "--corruptions", "5,1"]
    return made(pipeline, tmp_path_factory.mktemp("corrupted"), *words)


def document(folder) -> dict:
    found: dict = json.loads((folder / "results.json").read_text())
    return found


def test_the_threat_model_is_said_before_after_and_in_the_file(in_l2):
    shown, said, folder = in_l2
    assert re.search(r"natural-s0 on 40 test images .*, L2, eps 0.5, step 0.0586, cpu", said)
    assert "L2, eps 0.5, step 0.0586; percent" in shown
    found = document(folder)
    assert (found["threat_model"], found["norm"], found["eps"]) == ("L2", "l2", 0.5)
    assert found["robustbench"]["eps"] == "0.5"
    assert found["result"]["norm"] == "l2"


def test_without_a_norm_it_is_l_inf_as_before(in_linf):
    shown, _, folder = in_linf
    found = document(folder)
    assert "Linf, eps 0.15; percent" in shown
    assert (found["threat_model"], found["norm"], found["eps"]) == ("Linf", "linf", 0.15)
    assert "norm" not in found["result"]
    assert "corruptions" not in found


def test_adversarial_images_lie_in_the_l2_ball_and_the_worst_case_is_their_accuracy(in_l2, trained, test_images):
    folder, rows = in_l2[2], evenly_spaced(len(test_images[1]), 40)
    x, y = as_float(test_images[0][rows]), test_images[1][rows]
    x_adv = torch.load(folder / "x_adv.pt", weights_only=True)
    lengths = distance(x_adv, x, "l2")
    assert 0.4 < lengths.max() <= 0.5 + 2e-6
    assert (x_adv - x).abs().max() > 0.15
    worst = document(folder)["accuracy"]["worst"]["accuracy"]
    assert float((trained(x_adv).argmax(1) == y).float().mean()) == pytest.approx(worst)


def test_the_smallest_l2_perturbations_are_counted_at_the_radius(in_l2):
    folder = in_l2[2]
    found, lines = document(folder)["result"], list(csv.DictReader((folder / "per_image.csv").open()))
    seen = found["columns"]["min_l2"]["rows"]
    near = "".join("0" if float(lines[row]["min_l2"]) <= 0.5 else "1" for row in seen)
    assert "".join(found["outcomes"]["min_l2"][row] for row in seen) == near
    assert {"0", "1"} == set(near)


def test_the_checks_of_gradient_masking_are_those_of_l2(in_l2):
    found = {line["name"]: line["found"] for line in document(in_l2[2])["masking"]}
    assert {"steps", "far", "unbounded", "silent success", "converged", "progress", "minimum"} <= set(found)
    assert found["unbounded"].startswith("PGD-20 without a bound leaves 0 of")
    assert found["minimum"].startswith("min_l2 at eps leaves")


def test_a_radius_and_a_step_of_the_command_line_are_taken(run, weights):
    words = ("eval", weights, "--attacks", "clean,pgd20", "--n", "20", "--json")
    alone = json.loads(run(*words)[1])[0]
    half = json.loads(run(*words, "--eps", "0.075")[1])[0]
    slow = json.loads(run(*words, "--step", "1/25500")[1])[0]
    assert (alone["eps"], half["eps"], slow["eps"]) == (0.15, 0.075, 0.15)
    assert alone["accuracy"]["pgd20"]["accuracy"] < half["accuracy"]["pgd20"]["accuracy"]
    assert alone["accuracy"]["pgd20"]["accuracy"] < slow["accuracy"]["pgd20"]["accuracy"]


def test_what_has_no_meaning_in_l2_is_left_out_by_default_and_named(run, weights):
    code, shown, said = run("eval", weights, "--norm", "l2", "--n", "8", "--json")
    assert code in (0, 3)
    left = re.search(r"--norm l2: without (.*), which are for the L-inf ball only", said)
    assert left is not None
    assert left[1].split(", ") == ["cw20"]
    assert {"pgd20", "aa", "min_linf", "min_l2"} <= set(json.loads(shown)[0]["result"]["columns"])
    assert "cw20" not in json.loads(shown)[0]["result"]["columns"]


@pytest.mark.reliability("wrong inputs")
def test_two_threat_models_are_not_compared(run, in_l2, in_linf):
    code, _, said = run("compare", in_l2[2], in_linf[2])
    assert code == 2
    assert "was attacked in the L2 ball, eps 0.5, " in said
    assert "in the L-inf ball, eps 0.15; evaluate both under one threat model" in said
    assert run("compare", in_l2[2], in_l2[2])[0] == 0


@pytest.mark.reliability("wrong inputs")
def test_a_published_number_is_of_l_inf_alone(run, weights):
    code, _, said = run("eval", weights, "--norm", "l2", "--claim", "TRADES, ResNet-18")
    assert (code, "--claim: all published numbers are for the L-inf ball" in said) == (2, True), said


@pytest.mark.reliability("wrong inputs")
def test_a_preflight_that_fails_names_the_option_as_it_is_typed(run, trained, tmp_path):
    torch.save({key: t * 0 for key, t in trained.state_dict().items()}, tmp_path / "blank.pt")
    words = ("--model", "small", "--data", "digits", "--attacks", "clean")
    code, _, said = run("eval", tmp_path / "blank.pt", *words, "--params", params_of(tmp_path))
    assert code == 2
    assert "blank: preflight checks failed; pass --force to continue\n" in said


def params_of(folder):
    """The pipeline's params with the width of the trained network."""
    path = folder / "params.yaml"
    path.write_text(Path("params.yaml").read_text().replace("    width: 16\n", "    width: 8\n"))
    return path


def test_corruptions_are_in_the_table_with_their_mean_and_one_by_one_in_the_file(corrupted):
    shown, said, folder = corrupted
    found = document(folder)["corruptions"]
    each = [share for by in found["each"].values() for share in by.values()]
    assert all(set(by) == {"1", "5"} for by in found["each"].values())
    assert set(found["each"]) | set(found["missing"]) == set(BENCHMARK)
    assert found["accuracy"] == pytest.approx(sum(each) / len(each), abs=1e-5)
    assert found["low"] < found["accuracy"] < found["high"]
    assert f"Corrupted ({len(found['each'])} of 15, severity 1,5)" in shown
    assert f"{100 * found['accuracy']:.2f}" in shown
    assert all(f"corrupted {name}: " in said for name in found["each"])
    assert "corruptions_acc" not in document(folder)["robustbench"]  # RobustBench's mean is over all 15 x 5


def test_corrupted_images_are_those_of_the_pipeline(corrupted, run, weights, trained, test_images):
    from cure.core.noise import PerImage, seed_for
    from cure.corruptions.contrast import CORRUPTION

    rows = evenly_spaced(len(test_images[1]), 40)
    x, seed = as_float(test_images[0][rows]), 0
    made_here = CORRUPTION(x, 5, PerImage(seed_for(seed, "contrast", 5), rows))
    share = float((trained(made_here).argmax(1) == test_images[1][rows]).float().mean())
    assert document(corrupted[2])["corruptions"]["each"]["contrast"]["5"] == pytest.approx(share, abs=1e-6)


def test_the_same_command_again_counts_no_corruption_twice(corrupted, run, weights):
    first = document(corrupted[2])
    words = [weights, "--attacks", "clean", "--n", "40", "--corruptions", "1,5", "--out", corrupted[2].parent]
    before = {path: path.stat().st_mtime_ns for path in (corrupted[2] / "units").iterdir()}
    run("eval", *words)
    assert {path: path.stat().st_mtime_ns for path in (corrupted[2] / "units").iterdir()} == before
    assert document(corrupted[2]) == first


def test_all_of_them_at_every_severity_are_robustbenchs_mean(run, weights, monkeypatch):
    here = {name: kind for name, kind in BENCHMARK.items() if lacking(name) is None}
    for module in ("plan", "outputs", "show"):
        monkeypatch.setattr(f"cure.evaluation.standalone.{module}.BENCHMARK", here)
    words = ["--attacks", "clean", "--n", "16", "--corruptions", "all", "--json"]
    found = json.loads(run("eval", weights, *words)[1])[0]
    assert found["robustbench"]["corruptions_acc"] == f"{100 * found['corruptions']['accuracy']:.2f}"
    assert found["corruptions"]["missing"] == {}
