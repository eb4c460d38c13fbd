"""The last line of a stage: its place in dvc.yaml, what it worked on, what it found and how long it took."""

from pathlib import Path

import pytest

from cure.runtime.stage_line import stage_line
from tests.support.project import ROOT

PIPELINE = """\
stages:
  prepare: {matrix: {dataset: '${grid.datasets}'}, cmd: 'python ${root}/stages/prepare.py ${item.dataset}'}
  update:
    matrix: {dataset: '${grid.datasets}', method: '${grid.update}', seed: '${grid.seeds}'}
    cmd: python ${root}/stages/update.py ${item.dataset} small ${item.method} ${item.seed}
  report: {cmd: 'python ${root}/stages/report.py'}
  show: {cmd: 'python ${root}/stages/show.py', always_changed: true}
"""
TRADES = {"dataset": "digits", "model": "small", "method": "trades", "seed": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text("root: ..\ngrid: {datasets: [digits], update: [at, trades], seeds: [0, 1]}\n")
    return tmp_path


def command(stage: str, *arguments: str) -> list[str]:
    return [f"/anywhere/stages/{stage}.py", *arguments]


def test_it_counts_in_the_order_of_dvc_yaml(folder: Path) -> None:
    line = stage_line(command("update", "digits", "small", "trades", "1"), TRADES, "best epoch 2 of 3", 12.4)
    assert line == "[5/6] update TRADES s1: best epoch 2 of 3, 12 s"
    assert stage_line(command("prepare", "digits"), {"dataset": "digits"}, "9 images", 0) == (
        "[1/6] prepare digits: 9 images, 0 s"
    )
    assert stage_line(command("report"), {}, "reports/index.html", 1) == "[6/6] report: reports/index.html, 1 s"


def test_data_and_model_are_named_where_runs_differ_in_them(folder: Path) -> None:
    (folder / "params.yaml").write_text("root: ..\ngrid: {datasets: [digits, svhn], update: [trades], seeds: [1]}\n")
    line = stage_line(command("update", "digits", "small", "trades", "1"), TRADES, "x", 1)
    assert line == "[3/5] update TRADES s1 on digits small: x, 1 s"


@pytest.mark.parametrize("text", ["", "stages: {}\n", "stages: {update: {cmd: '${absent}'}}\n", "a: [\n"])
def test_without_a_pipeline_that_has_it_the_line_stands_alone(folder: Path, text: str) -> None:
    (folder / "dvc.yaml").write_text(text)
    line = stage_line(command("update", "digits", "small", "trades", "1"), TRADES, "x", 1)
    assert line == "update TRADES s1 on digits small: x, 1 s"


def test_pretrain_trains_the_natural_network_and_the_study_names_its_sets(folder: Path) -> None:
    given = {"dataset": "digits", "model": "small", "seed": 0}
    assert stage_line(command("pretrain"), given, "x", 1).startswith("pretrain Natural s0 on")
    given = {"dataset": "digits", "model": "small", "variant": "reinit", "group": "every", "seed": 0}
    assert stage_line(command("layers"), given, "x", 1).startswith("layers reinit every s0 on")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (99, "99 s"), (150, "2 min"), (5950, "99 min"), (5 * 3600 + 360, "5 h 06 min")]
)
def test_it_says_how_long_it_took(seconds: float, said: str) -> None:
    assert stage_line(command("report"), {}, "x", seconds).endswith(f", {said}")


def test_every_stage_of_the_quickstart_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "quickstart")
    assert stage_line(command("prepare", "digits"), {"dataset": "digits"}, "x", 1).startswith("[1/")
    last = stage_line(command("report"), {}, "x", 1)
    here, count = last[1:].split("]")[0].split("/")
    assert here == count  # the stage `show` is behind it, and makes nothing
