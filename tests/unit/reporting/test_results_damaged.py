"""Results, curves and sidecars that were cut, emptied or edited: `cure report` refuses each with a reason."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cure.cli import report
from cure.errors import UserError
from cure.storage.paths import Run
from tests.support.results import loaded, studied, write

AT = Run("digits", "small", "at", 0)
ATTACK, CORRUPT, CURVE, SIDECAR = AT.result("attack"), AT.result("corrupt"), AT.curve, AT.provenance("update")
RESULTS = {"attack": ATTACK, "corrupt": CORRUPT, "curve": CURVE, "sidecar": SIDECAR}
Damage = Callable[[Path], object]
wrong_input = pytest.mark.reliability("wrong inputs")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The folder of made-up results with a sidecar, which is no report's alone."""
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("reports"))
    write(tmp_path / "copy" / SIDECAR, json.dumps({"device": "CPU", "torch": "2", "epochs": 3}))
    return tmp_path / "copy"


def refusal(copy: Path, path: Path) -> str:
    """Why the report does without; it must name the file, and write nothing."""
    with pytest.raises(UserError) as refused:
        report(copy)
    said = str(refused.value)
    assert said.startswith(f"{path}: ")
    assert not (copy / "reports" / "table.md").exists()
    return said.removeprefix(f"{path}: ")


def edited(path: Path, **changes: Any) -> Damage:
    """New values of a JSON file's keys, or what a function makes of them."""

    def damage(root: Path) -> None:
        held = json.loads((root / path).read_text())
        held |= {key: value(held[key]) if callable(value) else value for key, value in changes.items()}
        (root / path).write_text(json.dumps(held))

    return damage


def outcomes(**changes: Callable[[str], str] | None) -> Damage:
    """Outcomes of other columns, or without them."""

    def change(held: dict[str, str]) -> dict[str, str]:
        kept = {name: text for name, text in held.items() if changes.get(name, str) is not None}
        return {name: (changes.get(name) or str)(text) for name, text in kept.items()}

    return edited(ATTACK, outcomes=change)


def minimum(**changes: Any) -> Damage:
    return edited(ATTACK, columns=lambda held: held | {"min_linf": held["min_linf"] | changes})


def lines(*rows: str) -> Damage:
    return lambda root: (root / CURVE).write_text("epoch,val_clean,val_pgd\n" + "".join(rows))


FIRST = "1,0.5,0.3\n2,0.7,0.6\n"
DAMAGED: dict[str, tuple[Path, Damage, str]] = {
    "no column aa": (ATTACK, outcomes(aa=None), "it has no column aa"),
    "no column clean": (ATTACK, outcomes(clean=None), "it has no column clean"),
    "no column worst": (ATTACK, outcomes(worst=None), "it has no column worst"),
    "robust and wrong": (
        ATTACK,
        outcomes(clean=lambda text: "0" * 200),
        "image 5 survives pgd20, but is misclassified without",
    ),
    "a worst that is not": (ATTACK, outcomes(worst=lambda text: "1" * 200), "image 0 survives `worst`, but not pgd20"),
    "a short outcome": (ATTACK, outcomes(pgd20=lambda text: text[:-3]), "pgd20 has 197 outcomes of 200 images"),
    "short clean": (ATTACK, outcomes(clean=lambda text: text[1:]), "clean has 199 outcomes of 200 images"),
    "another letter": (ATTACK, outcomes(pgd20=lambda text: "x" + text[1:]), "pgd20 has 'x' where only 1 (correct), 0"),
    "nothing looked at": (ATTACK, outcomes(aa=lambda text: "-" * len(text)), "aa covers no image"),
    "clean in part": (ATTACK, outcomes(clean=lambda text: "-" + text[1:]), "clean does not cover all images"),
    "an odd name": (ATTACK, edited(ATTACK, outcomes=lambda o: o | {"a|b": o["aa"]}), "the column 'a|b' is not a name"),
    "zero images": (
        ATTACK,
        edited(ATTACK, images=0, outcomes=lambda held: dict.fromkeys(held, "")),
        "it is about 0 images",
    ),
    "images below zero": (ATTACK, edited(ATTACK, images=-1), "it is about -1 images"),
    "other images": (
        ATTACK,
        edited(
            ATTACK,
            images=199,
            outcomes=lambda held: {name: text[:199] for name, text in held.items()},
            last=None,
        ),
        "it is about 199 images, others about 200",
    ),
    "no settings": (ATTACK, edited(ATTACK, columns={}), "it has no settings of the column pgd20, cw20, aa, min_linf"),
    "a row too far": (ATTACK, minimum(rows=[200], distances=[0.1]), "columns.min_linf.rows names image 200 of 200"),
    "a row twice": (ATTACK, minimum(rows=[1, 1], distances=[0.1, 0.1]), "columns.min_linf.rows names an image twice"),
    "fewer rows": (ATTACK, minimum(rows=[1]), "min_linf has 50 distances of 1 images"),
    "broken too far": (
        ATTACK,
        minimum(broken_by={"fmn": [-1]}),
        "columns.min_linf.broken_by.fmn names image -1 of 200",
    ),
    "an endless radius": (ATTACK, edited(ATTACK, eps=float("inf")), "eps: Input should be a finite number"),
    "a last epoch cut": (
        ATTACK,
        edited(ATTACK, last={"epoch": 3, "outcomes": {"clean": "1", "pgd20": "1"}}),
        "clean has 1 outcomes of 200 images",
    ),
    "a last epoch in part": (
        ATTACK,
        edited(ATTACK, last={"epoch": 3, "outcomes": {"clean": "1" * 200}}),
        "it has no column pgd20",
    ),
    "zero corrupted": (CORRUPT, edited(CORRUPT, images=0), "160 of 0 images are correct"),
    "more correct than there are": (CORRUPT, edited(CORRUPT, clean=201), "201 of 200 images are correct"),
    "fewer than none": (CORRUPT, edited(CORRUPT, correct={"fog": {"1": -3}}), "-3 of 200 images are correct under fog"),
    "a severity of no kind": (
        CORRUPT,
        edited(CORRUPT, correct={"fog": {"x": 3}}),
        "fog has the severities x; known: 1",
    ),
    "no severity": (CORRUPT, edited(CORRUPT, correct={"fog": {}}), "fog has the severities none; known: 1 to 5"),
    "other severities": (
        CORRUPT,
        edited(CORRUPT, correct={"fog": {"1": 3}, "contrast": {"1": 3}}),
        "it has the severities 1, others 1, 2, 3, 4, 5",
    ),
    "a corruption without a reason": (
        CORRUPT,
        edited(CORRUPT, correct=lambda held: {"fog": held["fog"]}),
        "it has neither counts of contrast nor a reason",
    ),
    "no category": (CORRUPT, edited(CORRUPT, categories={}), "it has no category of contrast, fog"),
    "a curve cut in its head": (
        CURVE,
        lambda root: (root / CURVE).write_text("epoch,val_cl"),
        "it has no column val_cl",
    ),
    "a curve without lines": (CURVE, lines(), "it is cut off in its first line"),
    "a curve cut in its first line": (CURVE, lines("1,0.5"), "it is cut off within a line"),
    "a curve cut in its last number": (CURVE, lines(FIRST, "3,0.8,0."), "it is cut off within a line"),
    "a curve without its end": (CURVE, lines(FIRST), "it has 2 epochs of a training of 3"),
    "a curve with a gap": (CURVE, lines("1,0.5,0.3\n3,0.8,0.5\n"), "line 3 is of epoch 3, not 2"),
    "words in a curve": (CURVE, lines(FIRST, "3,0.8,x\n"), "line 4, val_pgd: 'x' is not a number"),
    "no number in a curve": (CURVE, lines(FIRST, "3,nan,0.5\n"), "line 4, val_clean: 'nan' is not a number"),
    "more than all": (CURVE, lines(FIRST, "3,0.8,7\n"), "line 4, val_pgd: 7 is not an accuracy in [0, 1]"),
    "an end without accuracies": (CURVE, lines(FIRST, "3,,\n"), "its last epoch has no validation accuracies"),
    "a device of no name": (SIDECAR, edited(SIDECAR, device=3), "device: Input should be a valid string"),
    "epochs below zero": (SIDECAR, edited(SIDECAR, epochs=-3), "epochs: Input should be greater than or equal to 1"),
}


@wrong_input
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused_with_the_reason(copy: Path, kind: str) -> None:
    path, damage, said = DAMAGED[kind]
    damage(copy)
    assert refusal(copy, path).startswith(f"a damaged or incomplete result: {said}")


@wrong_input
@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"3", b'"x"', b"null", b"\xe9", b"[" * 100_000], ids=repr)
@pytest.mark.parametrize("kind", RESULTS)
def test_a_file_of_something_else_is_refused(copy: Path, kind: str, text: bytes) -> None:
    (copy / RESULTS[kind]).write_bytes(text)
    assert refusal(copy, RESULTS[kind]).startswith("a damaged or incomplete result: ")


@wrong_input
@pytest.mark.parametrize("kind", RESULTS)
def test_a_folder_or_a_pipe_in_place_of_a_file_is_refused_at_once(copy: Path, kind: str) -> None:
    path = copy / RESULTS[kind]
    path.unlink()
    path.mkdir()
    assert refusal(copy, RESULTS[kind]).startswith("a damaged or incomplete result: Is a directory; delete it")
    path.rmdir()
    os.mkfifo(path)
    assert refusal(copy, RESULTS[kind]) == "a device or a pipe, not a file"


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", "null", '{"results": 3}', '"x"'])
def test_a_damaged_note_of_the_first_making_is_written_anew(copy: Path, text: str) -> None:
    write(copy / "reports" / "made.json", text)
    report(copy)
    assert set(json.loads((copy / "reports" / "made.json").read_text())) == {"results", "commit", "devices", "torch"}


@wrong_input
@pytest.mark.parametrize("content", [None, b"x", b"\xe9\n", b"dataset,model,method,tflops,gpu_hours\na,b,c,d,e\n"])
def test_a_damaged_list_of_costs_is_refused(copy: Path, content: bytes | None) -> None:
    path = copy / "reports" / "costs.csv"
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_bytes(content)
    assert refusal(copy, Path("reports/costs.csv")).startswith("cannot be read (")


# ---- what only a grid with a study, an analysis or RiFT reads


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


STUDY = Run("digits", "small_resnet", "natural", 0).layers("reinit", "first")
NETWORKS = {"natural": {"parts": [], "updated": 0.0, "clean": "1111", "pgd": "0000"}}


@wrong_input
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"networks": {}}, "it has no network natural"),
        ({"networks": {"natural": NETWORKS["natural"] | {"pgd": "00"}}}, "pgd has 2 outcomes of 4 images"),
        (
            {"networks": {"natural": NETWORKS["natural"] | {"updated": 2.0}}},
            "networks.natural.updated: Input should be ",
        ),
        ({"images": 0}, "it is about 0 images"),
        ({"epochs": 0}, "epochs: Input should be greater than or equal to 1"),
    ],
)
@pytest.mark.usefixtures("inside")
def test_a_damaged_result_of_the_layerwise_study_is_refused(changes: dict[str, Any], said: str) -> None:
    results = studied()
    write(STUDY.result("layers"), json.dumps({"images": 4, "epochs": 2, "networks": NETWORKS} | changes))
    with pytest.raises(UserError, match="a damaged or incomplete result: ") as refused:
        results.layers(STUDY)
    assert f": {said}" in str(refused.value)


@wrong_input
@pytest.mark.usefixtures("inside")
def test_a_curve_with_block_sets_that_the_result_does_not_have_is_refused() -> None:
    from cure.reporting import layers

    results = studied()
    write(STUDY.result("layers"), json.dumps({"images": 4, "epochs": 2, "networks": NETWORKS}))
    with pytest.raises(
        UserError, match="a damaged or incomplete result: it has the block sets u1, which the result does not name"
    ):
        layers.curves(results)


POINT = {"clean": 0.9, "pgd": 0.5}
WALK = {"a": 0.3, "points": [POINT] * 11, "draws": 5, "another": 0.4, "weaker": 0.0}
RIFT = {
    "module": "linear",
    "bn": "update",
    "ascent": {"images": 4, "batch": 4, "epochs": 1, "steps": 1, "lr": 1.0, "eps": 0.1},
    "criticality": {"linear": {"mrc": 0.1, "drop": 0.01}},
    "interpolation": {"update": WALK},
}


@wrong_input
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (None, "it is not a report of a consolidation"),
        ({"module": "stem"}, "it has no criticality of stem"),
        ({"bn": "freeze"}, "it has no interpolation freeze"),
        (
            {"interpolation": {"update": WALK | {"points": [POINT]}}},
            "interpolation.update.points: List should have at ",
        ),
        (
            {"interpolation": {"update": WALK | {"a": 9.0}}},
            "interpolation.update.a: Input should be less",
        ),
        ({"ascent": RIFT["ascent"] | {"images": 0}}, "ascent.images: Input should be greater than or equal to 1"),
    ],
)
@pytest.mark.usefixtures("inside")
def test_a_damaged_report_of_rift_is_refused(changes: dict[str, Any] | None, said: str) -> None:
    run = AT.of("rift")
    results = loaded(revise_from_robust=["rift"])
    write(run.result("revise"), json.dumps({} if changes is None else RIFT | changes))
    with pytest.raises(UserError, match=r"rift-s0-revise\.json: a damaged or incomplete result: ") as refused:
        _ = results.rift
    assert f": {said}" in str(refused.value)
    write(run.result("revise"), json.dumps(RIFT))
    assert list(loaded(revise_from_robust=["rift"]).rift) == [run]


@wrong_input
@pytest.mark.parametrize(
    "facts",
    [
        "{",
        "[]",
        "3",
        '{"classes": ["a"]}',
        '{"classes": ["a"], "axes": 3}',
        '{"classes": ["a"], "axes": {"layer": ["x"]}}',
    ],
)
@pytest.mark.usefixtures("inside")
def test_a_damaged_analysis_is_refused(facts: str) -> None:
    AT.analyses.mkdir(parents=True)
    save_file({"map": torch.ones(2)}, AT.analysis("masks"), metadata={"cure": facts})
    with pytest.raises(UserError, match=r"masks\.safetensors: a damaged or incomplete result: "):
        loaded(analyse=["at"]).analysis(AT, "masks")


@wrong_input
@pytest.mark.usefixtures("inside")
def test_half_an_analysis_is_refused_and_a_whole_one_is_read() -> None:
    AT.analyses.mkdir(parents=True)
    facts = json.dumps({"classes": ["a"], "axes": {"layer": ["x", "y"]}})
    save_file({"map": torch.ones(2)}, AT.analysis("masks"), metadata={"cure": facts})
    found = loaded(analyse=["at"]).analysis(AT, "masks")
    assert found is not None
    assert np.array_equal(found.arrays["map"], np.ones(2))
    AT.analysis("masks").write_bytes(AT.analysis("masks").read_bytes()[:20])
    with pytest.raises(UserError, match="a damaged or incomplete result: "):
        loaded(analyse=["at"]).analysis(AT, "masks")
