"""A stored work item is taken only if it is what was stored, and can be what an attack leaves."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cure.evaluation.work_items import Examples, WorkItem, WorkItemFolder, sound

PART = Examples(torch.full((4, 1, 2, 2), 0.5), torch.tensor([0, 1, 2, 0]), torch.arange(4))
ITEM = {"rows": torch.tensor([0, 2]), "predicted": torch.tensor([1, 0]), "x_adv": torch.full((2, 1, 2, 2), 0.75)}
wrong_input = pytest.mark.reliability("wrong inputs")


@pytest.fixture
def folder(tmp_path: Path) -> WorkItemFolder:
    folder = WorkItemFolder(tmp_path)
    folder["a"] = ITEM
    return folder


def same(one: WorkItem, other: WorkItem) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_what_was_stored_is_found_again_whatever_its_shape(folder: WorkItemFolder) -> None:
    none = {"rows": torch.zeros(0, dtype=torch.int64), "x_adv": torch.zeros(0, 1, 2, 2)}
    for item in (ITEM, none, {"correct": torch.tensor(3)}):
        folder["b"] = item
        assert same(folder["b"], item)
    assert "c" not in folder


def edited(path: Path, change: Callable[[WorkItem], WorkItem]) -> None:
    """Other tensors under the same description, as an editor leaves them."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    save_file(change(load_file(path)), path, metadata=about)


def emptied(item: WorkItem) -> WorkItem:
    return {name: t[:0].clone() for name, t in item.items()}


DAMAGED: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: edited(path, emptied),
    "one number": lambda path: edited(path, lambda item: item | {"predicted": item["predicted"] + 1}),
    "another type": lambda path: edited(path, lambda item: item | {"rows": item["rows"].int()}),
    "without a digest": lambda path: save_file(load_file(path), path),
    "another digest": lambda path: save_file(load_file(path), path, metadata={"digest": "0"}),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "nothing": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello" * 99),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@wrong_input
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_unit_that_is_not_what_was_stored_counts_as_missing(folder: WorkItemFolder, kind: str) -> None:
    DAMAGED[kind](folder.path / "a.safetensors")
    assert "a" not in folder
    with pytest.raises(KeyError):
        folder["a"]


def test_an_item_of_an_attack_is_sound_with_and_without_rows() -> None:
    assert sound(ITEM, PART)
    assert sound(emptied(ITEM), PART)
    assert sound(ITEM | {"margins": torch.zeros(len(PART), 20)}, PART)


UNSOUND: dict[str, WorkItem] = {
    "shown of other images": ITEM | {"margins": torch.zeros(1, 20)},
    "shown of nothing": ITEM | {"margins": torch.zeros(())},
    "a key less": {name: t for name, t in ITEM.items() if name != "rows"},
    "a row too far": ITEM | {"rows": torch.tensor([0, 4])},
    "a row before the first": ITEM | {"rows": torch.tensor([-1, 2])},
    "a row twice": ITEM | {"rows": torch.tensor([2, 2])},
    "rows out of order": ITEM | {"rows": torch.tensor([2, 0])},
    "rows in a square": ITEM | {"rows": torch.tensor([[0, 2]])},
    "fewer predictions": ITEM | {"predicted": torch.tensor([1])},
    "a right prediction": ITEM | {"predicted": torch.tensor([0, 0])},
    "halves as rows": ITEM | {"rows": torch.tensor([0.0, 2.0])},
    "other images": ITEM | {"x_adv": torch.full((2, 1, 3, 3), 0.5)},
    "more images": ITEM | {"x_adv": torch.full((3, 1, 2, 2), 0.5)},
    "doubles": ITEM | {"x_adv": torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)},
    "beyond white": ITEM | {"x_adv": torch.full((2, 1, 2, 2), 1.5)},
    "no number": ITEM | {"x_adv": torch.full((2, 1, 2, 2), float("nan"))},
}


@wrong_input
@pytest.mark.parametrize("kind", UNSOUND)
def test_an_item_that_no_attack_leaves_is_not_sound(kind: str) -> None:
    assert not sound(UNSOUND[kind], PART)
