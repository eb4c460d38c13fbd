"""The evidence: studies, what they share, how they go on, and what equal tuning chooses."""

import json
import subprocess
import sys

import pytest

from cure import catalogue
from cure.errors import UserError
from cure.settings.params import read
from pilot import study, took, tuning
from pilot.pipeline import ROOT, Step
from pilot.study import Pipeline, pipelines, run, shared
from pilot.tuning import Configuration, best, page, values

WRITES = "import sys; from pathlib import Path; Path('ran').open('a').write('x'); "


def step(name, outs, deps=(), params=("run",), code=""):
    """A step that writes its name into its outs."""
    text = WRITES + code + f"[Path(out).write_text('{name}') for out in {list(outs)!r}]"
    return Step([sys.executable, "-c", text, name], list(deps), list(outs), params)


def pipeline(place, name, settings, *steps):
    folder = place / name
    folder.mkdir(parents=True)
    for sub in ("results", "data"):
        (folder / sub).mkdir()
    return Pipeline(name, folder, {"run": settings, "attack": {}}, list(steps))


def prepare():
    return step("prepare", ["data/all"])


def attack(**more):
    return step("attack", ["results/a"], ["data/all"], **more)


def runs(one):
    path = one.folder / "ran"
    return len(path.read_text()) if path.exists() else 0


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    place = tmp_path_factory.mktemp("evidence")
    return place, pipelines("tuning", place)


def test_a_study_goes_on_in_its_folders(sweep):
    place, found = sweep
    assert [one.name for one in pipelines("tuning", place)] == [one.name for one in found]
    assert all(one.to_do() for one in found)


def test_tuning_gives_every_method_four_configurations_and_reads_no_test_split(sweep):
    _, found = sweep
    methods = [one.name.removeprefix("tuning/").rpartition("-")[0] for one in found]
    assert {methods.count(method) for method in methods} == {4}
    assert {one.script for each in found for one in each.steps} <= {"prepare", "pretrain", "update", "revise"}
    own = [each.keys[each.steps[-1].name] for each in found]
    assert len(set(own)) == len(found)  # no two are the same run


TIER_1 = {"natural", "at", "trades", "mart", "awp", "rift", "arat", "cure"}


def made_of(found):
    """Method, seed and stage of every step of pipelines; the natural network is pretrained, and named elsewhere."""
    words = [step.name.split() for each in found for step in each.steps]
    return {(one[3] if len(one) > 4 else "natural", int(one[-1]), one[0]) for one in words if len(one) > 2}


def test_tier_1_has_three_seeds_and_tier_2_every_method_of_the_catalogue(tmp_path):
    one, two = (pipelines(name, tmp_path) for name in ("tier1", "tier2"))
    attacked = {(method, seed) for method, seed, stage in made_of(one) if stage == "attack"}
    assert attacked == {(method, seed) for method in TIER_1 for seed in range(3)}
    every = {method for method, _, stage in made_of(two) if stage == "attack"}
    assert every == set(catalogue.names("methods"))
    assert one[0].params["train"]["protocol"] == two[0].params["train"]["protocol"] == "matched"


def test_tier_2_and_the_ablations_take_from_tier_1_what_it_has(tmp_path):
    (one,), (two,) = (pipelines(name, tmp_path) for name in ("tier1", "tier2"))
    again = set(one.keys.values())
    shared = {step.name for step in two.steps if two.keys[step.name] in again}
    assert {name.split()[3] for name in shared if name.startswith("attack")} == TIER_1
    for each in pipelines("ablations", tmp_path):
        names = {
            step.name.split()[3] for step in each.steps if each.keys[step.name] in again and step.script == "attack"
        }
        assert names >= {"natural"} | ({each.name.split("/")[1]} & TIER_1)
        new = {step.name.split()[3] for step in each.steps if each.keys[step.name] not in again}
        assert bool(new) == ("_" in each.name)


def test_longer_training_runs_four_times_as_long_on_fewer_images(tmp_path):
    (longer,), (one,) = (pipelines(name, tmp_path) for name in ("longer", "tier1"))
    assert longer.params["train"]["epochs"] == 4 * one.params["train"]["epochs"]
    assert longer.params["datasets"]["folder"]["train_images"] < one.params["datasets"]["folder"]["train_images"]
    assert {"at", "trades", "cure"} <= {method for method, _, _ in made_of([longer])}
    assert [step.name for step in longer.steps if step.script == "layers"]


def test_what_is_tuned_is_what_the_committed_curves_choose():
    chosen = best(tuning.configurations(read(study.STUDIES / "tuning.yaml"), study.EVIDENCE / "tuning"))
    assert values(chosen, read(ROOT / "pilot" / "params.yaml")) == read(tuning.TUNED)


@pytest.mark.reliability("wrong inputs")
def test_a_folder_that_began_with_other_settings_is_refused(sweep):
    place, found = sweep
    path = found[4].folder / "params.yaml"
    whole = path.read_text()
    path.write_text(whole.replace("precision: fp32", "precision: bf16"))  # of which the study says nothing
    assert pipelines("tuning", place)
    path.write_text(whole.replace("weight_decay: 0.0005", "weight_decay: 0.0007"))
    with pytest.raises(UserError, match="weight_decay differs from the study"):
        pipelines("tuning", place)
    path.write_text(whole)


@pytest.mark.reliability("wrong inputs")
def test_an_unknown_study_is_refused(tmp_path):
    with pytest.raises(UserError, match="tunning: no such study, did you mean tuning"):
        pipelines("tunning", tmp_path)


def test_steps_with_the_same_settings_run_once(tmp_path):
    same = [pipeline(tmp_path, name, {"threads": 1}, prepare(), attack()) for name in "ab"]
    other = pipeline(tmp_path, "c", {"threads": 2}, prepare(), attack())
    assert run([*same, other], 2, 60, commit=False)
    assert sorted(map(runs, same)) == [0, 2]
    assert runs(other) == 2
    assert all((one.folder / "results/a").read_text() == "attack" for one in (*same, other))
    told = json.loads((same[1].folder / "steps.json").read_text())
    assert told[same[1].steps[1].name] == {"taken_from": "a"}
    assert not same[0].told.keys() ^ told.keys()


def test_a_child_of_other_settings_is_another_run(tmp_path):
    one = pipeline(tmp_path, "a", {"threads": 1}, prepare(), attack(params=("attack",)))
    two = pipeline(tmp_path, "b", {"threads": 2}, prepare(), attack(params=("attack",)))
    keys = [[each.keys[step.name] for step in each.steps] for each in (one, two)]
    assert keys[0][1] != keys[1][1]


def test_what_is_there_is_not_run_again(tmp_path):
    one = pipeline(tmp_path, "a", {}, prepare(), attack())
    assert run([one], 1, 60, commit=False)
    (one.folder / "data/all").unlink()  # which a fresh clone has not
    assert run([one], 1, 60, commit=False)
    assert runs(one) == 2


def test_what_fails_is_told_and_the_rest_goes_on(tmp_path, capfd):
    bad = pipeline(tmp_path, "a", {}, prepare(), attack(code="sys.exit(1); "))
    good = pipeline(tmp_path, "b", {"threads": 2}, prepare(), attack())
    assert not run([bad, good], 1, 60, commit=False)
    assert (good.folder / "results/a").exists()
    assert "attack: exit 1" in capfd.readouterr().out
    assert [step.name for step in bad.to_do()][-1] == bad.steps[1].name


def test_time_that_is_up_ends_a_step_and_its_time_counts(tmp_path):
    waits = "import time; time.sleep(60 if sum(1 for _ in Path('ran').read_text()) == 1 else 0); "
    one = pipeline(tmp_path, "a", {}, step("attack", ["results/a"], code=waits))
    assert not run([one], 1, 2, commit=False)
    assert not (one.folder / "results/a").exists()
    assert run([one], 1, 60, commit=False)
    assert json.loads((one.folder / "steps.json").read_text())[one.steps[0].name]["seconds"] >= 2


def test_each_run_is_committed(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    for key in ("name", "email"):
        subprocess.run([*git, "config", f"user.{key}", "a"], check=True)
    (tmp_path / "mine").write_text("not of the evidence")
    subprocess.run([*git, "add", "mine"], check=True)
    some = [pipeline(tmp_path, name, {"name": name}, prepare(), attack()) for name in ("tier/a", "tier/b")]
    copied = pipeline(tmp_path, "tier/c", {"name": "tier/b"}, prepare(), attack())
    lacking = step("attack again", ["results/c"], ["data/absent"])
    partly = pipeline(tmp_path, "tier/d", {"name": "tier/b"}, prepare(), attack(), lacking)
    assert not run([*some, copied, partly], 1, 60, commit=True)
    assert (partly.folder / "results/a").exists()
    said = subprocess.run([*git, "log", "--format=%s"], capture_output=True, text=True, check=True).stdout.split("\n")
    assert said[:3] == ["Evidence: tier", "Evidence: tier/b", "Evidence: tier/a"]
    held = subprocess.run([*git, "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    assert {"tier/a/results/a", "tier/b/steps.json", "tier/c/results/a"} <= set(held)
    left = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert left.split("\n")[:-1] == ["A  mine", "?? tier/d/"]  # of what d needs it has a part, made elsewhere


def test_shared_takes_nothing_where_nothing_is(tmp_path):
    one = pipeline(tmp_path, "a", {}, prepare(), attack())
    shared([one])
    assert one.told == {}


def test_what_git_holds_of_a_step_is_shared(tmp_path):
    """A clone has the network of a training and not its trajectory; its children need the network alone."""
    outs = {"weights/a": "network", "trajectories/a": "all epochs", "results/a": "accuracy"}
    one, two = (
        pipeline(tmp_path, name, {}, step("update", list(outs)), step("attack", ["results/b"], ["weights/a"]))
        for name in "ab"
    )
    for out, text in outs.items():
        if not out.startswith("trajectories"):
            (one.folder / out).parent.mkdir(exist_ok=True)
            (one.folder / out).write_text(text)
    (two.folder / "weights").mkdir()
    assert run([one, two], 1, 60, commit=False)
    assert [runs(each) for each in (one, two)] == [1, 0]  # the attack alone
    assert (two.folder / "weights/a").read_text() == "network"
    assert two.told[two.steps[0].name] == {"taken_from": "a"}


FOUND = [
    Configuration("at-1", {"train.lr": 0.1, "train.weight_decay": 5e-4}, 0.5, 0.30),
    Configuration("at-2", {"train.lr": 0.1, "train.weight_decay": 1e-4}, 0.6, 0.29),
    Configuration("cure-1", {"train.lr": 0.1, "methods.cure.update.beta": 5}, 0.6, 0.3),
    Configuration("cure-2", {"train.lr": 0.03, "methods.cure.update.beta": 5}, 0.5, 0.25),
    Configuration("natural-1", {"pretrain.lr": 0.1}, 0.6, 0.0),
    Configuration("natural-2", {"pretrain.lr": 0.03}, 0.7, 0.0),
]


def test_the_highest_nrr_is_chosen_and_clean_accuracy_of_natural_training():
    assert [one.name for one in best(FOUND).values()] == ["at-2", "cure-1", "natural-2"]


def test_choices_are_settings_of_the_method_under_matched():
    assert values(best(FOUND), read(ROOT / "pilot" / "params.yaml")) == {
        "methods.at.matched": {"train": {"lr": 0.1, "weight_decay": 1e-4}},
        "methods.cure.update.matched": {"train": {"lr": 0.1}},
        "methods.cure.update.beta": 5,
        "pretrain.lr": 0.03,
    }


def test_the_page_marks_what_was_chosen():
    lines = page(FOUND, best(FOUND), 2000, 4).splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.endswith("chosen |")] == ["AT", "CURE", "Natural"]
    assert "up to 1.1 points" in lines[2]
    assert "| AT | `train.lr` 0.1, `train.weight_decay` 0.0001 | 60.0 | 29.0 | 39.1 | chosen |" in lines


@pytest.mark.reliability("wrong inputs")
def test_tuning_that_is_not_whole_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"at-s0.csv: does not exist yet; run `python -m pilot.study`"):
        tuning.configurations({"variants": {"at-1": {}}}, tmp_path)


def test_what_it_took_is_summed_by_study_and_stage(tmp_path):
    for place, told in {
        "tier1": {"update folder small_resnet at 0": {"cpu": 3600}, "attack folder small_resnet at 0": {"cpu": 360}},
        "ablations/a": {"update folder small_resnet at 0": {"taken_from": "tier1"}},
        "ablations/b": {"update folder small_resnet at 1": {"cpu": 1800, "seconds": 4000}},
    }.items():
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "steps.json").write_text(json.dumps(told))
    (tmp_path / "tier1/provenance").mkdir()
    (tmp_path / "tier1/provenance/a.json").write_text(json.dumps({"device": "a CPU", "torch": "2.15"}))
    lines = took.page(tmp_path).splitlines()
    assert "1.6 core-hours in all, on a CPU, PyTorch 2.15." in lines
    assert lines[-4:] == [
        "| Study | Steps | update | attack | All |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| ablations | 1 | 0.50 |  | 0.50 |",
        "| tier1 | 2 | 1.00 | 0.10 | 1.10 |",
    ]
