"""Experiments of DVC, its views and its remotes: in quickstart/ they know the quickstart, and run the code of then."""

import json
import re
from pathlib import Path

import pytest

from tests.support.clone import CURE, FROM_NATURAL, REVISE, ROWS, Clone, edited, measured, ran

OTHERS = re.compile(r"cifar10\b|pilot|warning:|error:", re.IGNORECASE)  # what no command here has a reason to speak of
BROKEN = "raise SystemExit('the code of the workspace runs')\n"


@pytest.fixture(scope="session")
def tried(made, tmp_path_factory):
    """A copy of `made` after `dvc exp run -S alpha=0.5`, and what that printed."""
    clone = made.copy(tmp_path_factory.mktemp("tried"))
    return clone, clone.run("dvc", "exp", "run", "-S", "alpha=0.5", "-n", "tried")


def test_another_alpha_runs_cure_and_the_report_alone(tried):
    _, output = tried
    analysed = "analyse@digits-small-cure-0"
    assert sorted(ran(output)) == sorted({CURE, REVISE, *measured({"cure": FROM_NATURAL}), analysed, "report"})
    assert not OTHERS.search(output)


def test_another_alpha_changes_one_line_of_params(tried):
    clone, _ = tried
    assert clone.run("git", "diff", "--numstat", "params.yaml").split() == ["1", "1", "quickstart/params.yaml"]


def test_metrics_diff_shows_cure_alone(tried):
    clone, _ = tried
    shown = clone.run("dvc", "metrics", "diff")
    assert set(re.findall(r"digits/small\.(\w+)\.", shown)) == {"cure"}
    assert not OTHERS.search(shown)


def test_plots_diff_lays_the_curves_of_both_over_each_other(tried):
    clone, _ = tried
    shown = clone.run("dvc", "plots", "diff", "--json")
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


def test_plots_show_draws_the_plots_of_the_quickstart(tried):
    clone, _ = tried
    shown = clone.run("dvc", "plots", "show")
    assert shown.strip().endswith("quickstart/dvc_plots/index.html")
    assert not OTHERS.search(shown)


def test_params_diff_shows_alpha_alone(tried):
    clone, _ = tried
    changes = [line.split() for line in clone.run("dvc", "params", "diff").splitlines()[1:]]
    assert changes == [["params.yaml", "alpha", "0.1", "0.5"]]


def test_the_table_of_experiments_names_alpha_and_cure(tried):
    clone, _ = tried
    shown = clone.run("dvc", "exp", "show", "--only-changed")
    assert re.search(r"\balpha\b", shown)
    assert re.search(r"\bcure\.clean\b", shown)
    assert not re.search(r"\btrades\.clean\b", shown)


def test_the_table_of_experiments_has_the_columns_of_the_quickstart(tried):
    clone, _ = tried
    names = clone.run("dvc", "exp", "show", "--csv").splitlines()[0].split(",")
    assert len([name for name in names if name.startswith("digits/small.")]) == 4 * len(ROWS)
    params = set(json.loads((clone.quickstart / "reports/metrics.json").read_text())["digits/small"])
    assert params == set(ROWS)
    assert [name for name in names if "pilot" in name or name.startswith(("weights/cifar", "data/cifar"))] == []


@pytest.fixture(scope="session")
def queued(made, tmp_path_factory):
    """A copy of `made` in which an experiment waited in the queue while the workspace's code broke."""
    clone = made.copy(tmp_path_factory.mktemp("queued"))
    said = clone.run("dvc", "exp", "run", "--queue", "-S", "alpha=0.5", "-n", "queued")
    with edited(clone.root / "cure/__init__.py", lambda path: path.write_text(BROKEN)):
        clone.run("dvc", "queue", "start")
        said += clone.run("dvc", "queue", "logs", "--follow", "queued")
    return clone, said


def test_a_queued_experiment_runs_the_code_that_it_was_queued_with(queued, tried):
    clone, said = queued
    assert "Success" in clone.run("dvc", "queue", "status")
    assert clone.run("git", "status", "--porcelain", folder=".") == ""
    assert not OTHERS.search(clone.run("dvc", "exp", "apply", "queued"))
    for name in ("metrics.json", "curves.csv"):
        assert (clone.quickstart / "reports" / name).read_bytes() == (
            tried[0].quickstart / "reports" / name
        ).read_bytes()
    assert CURE in ran(said)


def test_an_experiment_in_a_folder_of_its_own_leaves_the_workspace_alone(made):
    said = made.run("dvc", "exp", "run", "--temp", "-S", "report.title=Another", "-n", "aside")
    assert ran(said) == ["report"]
    assert not OTHERS.search(said)
    assert made.run("git", "status", "--porcelain", folder=".") == ""
    for words in (("rename", "aside", "renamed"), ("remove", "renamed")):
        assert not OTHERS.search(made.run("dvc", "exp", *words))


@pytest.fixture(scope="session")
def shared(made, tmp_path_factory):
    """A copy of `made` whose files and run cache were pushed to a folder."""
    clone = made.copy(tmp_path_factory.mktemp("shared"))
    clone.run("dvc", "remote", "add", "-d", "lab", str(clone.scratch / "lab"))
    clone.commit()
    assert not OTHERS.search(clone.run("dvc", "push", "--run-cache"))
    return clone


def cloned(origin, place):
    origin.run("git", "clone", "-q", str(origin.root), str(place / "clone"), folder=".")
    (place / "scratch").mkdir()
    return Clone(place / "clone", place / "scratch")


def everything(clone):
    folders = ("data", "weights", "trajectories", "curves", "results", "provenance", "reports", "code")
    files = [path for name in folders for path in (clone.quickstart / name).rglob("*") if path.is_file()]
    return {path.relative_to(clone.root): path.read_bytes() for path in files}


def test_a_second_clone_pulls_every_figure_and_result_and_trains_nothing(shared, tmp_path):
    clone = cloned(shared, tmp_path)
    assert not OTHERS.search(clone.run("dvc", "pull"))
    assert everything(clone) == everything(shared)
    assert ran(clone.run("dvc", "repro")) == []
    assert clone.run("git", "status", "--porcelain") == ""


def test_what_nobody_uses_is_collected_and_what_the_workspace_uses_is_kept(shared, tmp_path):
    clone = cloned(shared, tmp_path)
    clone.run("dvc", "pull")
    (loose := clone.quickstart / ".dvc/cache/files/md5/00/0000").parent.mkdir(exist_ok=True)
    loose.write_text("of another time")
    said = clone.run("dvc", "gc", "-w", "-f")
    assert not loose.exists()
    assert "cifar" not in said
    assert clone.stale() == set()
    assert ran(clone.run("dvc", "repro")) == []


def test_after_the_loss_of_dvc_lock_the_run_cache_of_the_remote_gives_a_row_back(shared, tmp_path):
    clone = cloned(shared, tmp_path)
    (clone.quickstart / "dvc.lock").unlink()
    measured_cure = f"attack_{FROM_NATURAL}@digits-small-cure-0"
    assert ran(clone.run("dvc", "repro", "--pull", measured_cure)) == []
    found, whole = everything(clone), everything(shared)
    assert Path("quickstart/results/digits/small/cure-s0-attack.json") in found
    assert found.items() <= whole.items()
