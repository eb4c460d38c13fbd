"""What the grid uses is refused, and what it does not is told and stops nothing."""

import copy
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cure.methods.cure import METHOD
from cure.settings.check import check
from cure.settings.params import Params, read
from cure.settings.sections import Train
from tests.support.settings import GONE, QUICKSTART, SCALES, changed


def with_methods(raw: dict, *kept: str) -> dict:
    """The file with these rows, and no other, in the lists of its grid."""
    raw = copy.deepcopy(raw)
    for key, names in raw["grid"].items():
        if key.startswith(("update", "revise", "analyse")):
            raw["grid"][key] = [name for name in names if name in kept]
    return raw


@pytest.mark.parametrize("scale", SCALES)
def test_a_shipped_file_has_no_mistake_in_what_its_grid_leaves_unused(scale: str) -> None:
    assert check(SCALES[scale]).unused == []


def test_three_epochs_are_enough_for_methods_that_begin_at_once() -> None:
    raw = with_methods(QUICKSTART, "at", "trades", "cure")
    raw = changed(changed(raw, "train.epochs", 3), "train.drops", {2: 0.1})
    found = check(raw)
    assert found == []
    said = ["methods.iad.begin: 8, but it is trained for 3 epochs", "methods.part.begin: 7, but it is trained for 3 "]
    assert [line for line in said if not any(line in one for one in found.unused)] == []
    raw["grid"]["update"].append("part")
    assert check(raw) == ["methods.part.begin: 7, but it is trained for 3 epochs"]


def test_a_removed_method_that_the_report_compares_with_stops_nothing() -> None:
    found = check(with_methods(QUICKSTART, "at", "cure"))
    assert found == []
    assert any(line.startswith("report.against: 'trades' is not a method of the grid") for line in found.unused)


def test_a_role_that_no_method_needs_may_name_a_removed_one_and_no_other() -> None:
    raw = with_methods(QUICKSTART, "at", "cure")
    assert any(line.startswith("roles.teacher: 'trades' is not a method") for line in check(raw).unused)
    raw["grid"]["update_from_teacher"] = ["ard"]
    (said,) = check(raw)
    assert said.startswith("roles.teacher: 'trades' is not a method of the grid")


UNUSED = {  # where -> a value there that no run of the grid reads, and what is said of it
    "methods.at.presets.rice": ("x", "methods.at.presets.rice: not a mapping; found 'x' (preset rice)"),
    "methods.tradez": ({}, "methods.tradez: no such entry, did you mean trades?"),
    "datasets.svhn": ({"validation": 0}, "datasets.svhn.validation: Input should be greater than or equal to 1"),
    "datasets.mnist": ({}, "datasets.mnist: no such entry"),
    "models.resnet18": ({"width": 3}, "models.resnet18.width: unknown key"),
    "methods.cure.update.presets.eq5_literal": ({"beta": "x"}, "methods.cure.update.beta: not a number or a fraction"),
    "layers.blocks.more": ({"u9": ["layer5"]}, "layers.blocks.more.u9: small_resnet has no weights in 'layer5'"),
    "methods.trades.matched": ({"bta": 1}, "methods.trades.bta: unknown key, did you mean beta? (protocol matched)"),
}


@pytest.mark.parametrize("where", UNUSED)
def test_a_mistake_in_what_no_run_reads_is_told_and_stops_nothing(where: str) -> None:
    value, said = UNUSED[where]
    found = check(changed(QUICKSTART, where, value))
    assert found == []
    assert any(line.startswith(said) for line in found.unused), found.unused


def test_the_same_mistake_is_refused_once_a_run_reads_it() -> None:
    raw = changed(changed(QUICKSTART, "methods.at.presets.rice", "x"), "methods.at.preset", "rice")
    assert "methods.at.presets.rice: not a mapping; found 'x'" in check(raw)
    assert check(changed(QUICKSTART, "layers.blocks.every.u1", ["layer5"])) != []


def test_without_a_grid_everything_counts_as_used() -> None:
    assert "models.small.width: missing" in check(changed(changed(QUICKSTART, "grid", GONE), "models.small", {}))


def test_an_epoch_that_an_override_wrote_as_a_word_is_one_of_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    YAML(typ="safe", pure=True).dump(changed(QUICKSTART, "train.drops", {19: 0.1, "5": 0.5}), path)
    raw = read(path)
    assert raw["train"]["drops"] == {19: 0.1, 5: 0.5}
    assert check(raw) == []
    assert Params(raw, ["train", "threat"], "digits", "small").get("train", Train).drops == {5: 0.5, 19: 0.1}


def test_drops_written_as_words_replace_the_others_as_numbers_do() -> None:
    raw = changed(changed(QUICKSTART, "methods.at.drops", GONE), "train.drops", {"19": 0.1})
    raw = changed(raw, "methods.cure.update.presets.paper", {"train": {"drops": {"3": 0.5}}})
    raw = changed(raw, "methods.cure.update.train.drops", {"7": 0.1})
    key = "methods.cure.update"
    _, train = Params(raw, [key, "train", "threat", "alpha"], "digits", "small").method(key, METHOD.hyper)
    assert train.drops == {3: 0.5}


def test_a_folder_of_ones_own_needs_its_path_and_what_dvc_tracks() -> None:
    raw = changed(changed(QUICKSTART, "datasets.folder", {"path": "mine"}), "grid.datasets", ["folder"])
    said = "datasets.folder.augment: missing; DVC tracks it for every training, so a pipeline needs it: {'crop': 4, "
    assert check(raw) == [said + "'padding': 'zero', 'flip': True}"]
    assert check(changed(raw, "datasets.folder.augment", {"crop": 0, "padding": "zero", "flip": False})) == []


def test_a_data_set_of_no_run_may_lack_what_has_a_default() -> None:
    found = check(changed(QUICKSTART, "datasets.folder", {"path": "mine"}))
    assert found == []
    assert [line.partition(":")[0] for line in found.unused] == ["datasets.folder.augment"]
