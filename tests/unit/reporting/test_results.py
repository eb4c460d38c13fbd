"""The files behind a report: each is opened once, and a missing or broken one is named."""

import builtins
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from cure.cli import report
from cure.errors import UserError
from cure.reporting.results import Results
from cure.storage.paths import Run
from tests.support.results import ROWS, STUDY, loaded, studied, write

READ = ("results", "curves", "provenance")
AT = Run("digits", "small", "at", 0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened from now on."""
    counts: Counter[str] = Counter()

    def counting(real):
        def opening(file, *args, **kwargs):
            counts[str(file)] += 1
            return real(file, *args, **kwargs)

        return opening

    counted = counting(open)
    for module in (builtins, io):
        monkeypatch.setattr(module, "open", counted)
    monkeypatch.setattr(safetensors, "safe_open", counting(safetensors.safe_open))
    return counts


def test_a_report_opens_each_result_curve_and_sidecar_once(folder: Path, tmp_path: Path, opened) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("reports"))
    about = {"device": "CPU", "torch": "2"}
    for run in [Run("digits", "small", method, seed) for method in ROWS for seed in (0, 1)]:
        write(copy / run.provenance("attack"), json.dumps(about))
        trained = run.provenance("pretrain" if run.method == "natural" else "update")
        write(copy / trained, json.dumps(about | {"epochs": 3}))
    opened.clear()
    report(copy)
    there = {str(path.relative_to(copy)) for name in READ for path in (copy / name).rglob("*") if path.is_file()}
    assert len(there) == 6 * 5
    read = {name: count for name, count in opened.items() if name.split("/")[0] in READ}
    assert read == dict.fromkeys(there, 1)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_layerwise_study_revisions_and_analyses_are_opened_once(inside: Path, opened) -> None:
    studied()
    results = loaded(layers=STUDY, revise_from_robust=["rift"], analyse=["at"])
    study = [Run("digits", STUDY["models"][0], "natural", 0).layers("reinit", group) for group in STUDY["groups"]]
    write(AT.of("rift").result("revise"), json.dumps({"exported": "best"}))
    AT.analyses.mkdir(parents=True)
    facts = json.dumps({"classes": ["a"], "axes": {}})
    save_file({"map": torch.ones(2)}, AT.analysis("masks"), metadata={"cure": facts})
    opened.clear()
    for _ in range(2):
        for run in study:
            assert results.layers(run).images == 4
            assert len(results.curve(run)) == 2
        assert results.rift == {}
        assert results.analysis(AT, "masks").classes == ["a"]
        assert results.analysis(AT, "cka") is None
    wanted = [*(path for run in study for path in (run.result("layers"), run.curve)), AT.analysis("masks")]
    assert opened == dict.fromkeys([*map(str, wanted), str(AT.of("rift").result("revise"))], 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"images": 3}'])
@pytest.mark.usefixtures("inside")
def test_a_broken_result_is_named_with_what_to_do(text: str) -> None:
    results = results_of(text)
    for read in (lambda: results.attacks, lambda: results.sidecar(AT, "attack")):
        with pytest.raises(
            UserError, match=r"at-s0-attack\.json: a damaged or incomplete result: .*; delete it and run `dvc repro`"
        ):
            read()


@pytest.mark.usefixtures("inside")
def test_a_missing_file_is_named_with_what_to_do_and_a_missing_sidecar_is_none() -> None:
    results = loaded()
    for read in (lambda: results.attacks, lambda: results.corruptions, lambda: results.curve(AT)):
        with pytest.raises(UserError, match=r"-s0.*: does not exist yet; run `dvc repro`"):
            read()
    assert results.sidecar(AT, "attack") is None


def results_of(text: str) -> Results:
    """The results of a grid in which every file of the stage attack is this text."""
    results = loaded()
    for run in results.runs[::-1]:
        write(run.result("attack"), text)
        write(run.provenance("attack"), text)
    results.runs.reverse()  # AT first
    return results
