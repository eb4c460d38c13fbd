"""Whose folder it is, and notes that are damaged."""

from pathlib import Path

import pytest
import torch
from torch import nn

from cure.errors import UserError
from cure.evaluation.standalone.results_folder import (
    Owner,
    network_digest,
    note_network,
    noted,
    number,
    refuse_other_network,
)

wrong_input = pytest.mark.reliability("wrong inputs")


@wrong_input
@pytest.mark.parametrize(
    "text", [b"", b"x", b"0", b"-5", b"41", b"4.5", b"1e1", b"9" * 5000, b"\xff", b" 4", "\u0664".encode()]
)
def test_a_damaged_note_of_a_number_counts_as_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "note").write_bytes(text)
    assert noted(tmp_path / "note", number(40)) is None


def test_a_note_is_read_and_one_that_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("40")
    assert noted(tmp_path / "note", number(40)) == 40
    assert noted(tmp_path / "other", number(40)) is None
    (tmp_path / "other").mkdir()
    assert noted(tmp_path / "other", number(40)) is None


def test_a_folder_belongs_to_the_network_that_began_it(tmp_path: Path) -> None:
    mine, other = (Owner(network_digest(nn.Linear(2, 2), None), [1, 2, 2], []) for _ in range(2))
    refuse_other_network(tmp_path / "out", mine)
    note_network(tmp_path / "out", mine)
    refuse_other_network(tmp_path / "out", mine)
    with pytest.raises(UserError, match="holds the evaluation of another network; name another folder, or delete it"):
        refuse_other_network(tmp_path / "out", other)


def test_results_that_name_no_network_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match="its results do not record their network"):
        refuse_other_network(tmp_path, Owner("mine", [1, 2, 2], []))


def test_a_network_is_known_by_its_weights_its_modules_and_without_weights_by_its_file(tmp_path: Path) -> None:
    one = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    again = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert network_digest(one, None) != network_digest(again, None)
    again.load_state_dict(one.state_dict())
    assert network_digest(one, None) == network_digest(again, tmp_path / "none")
    assert network_digest(one, None) != network_digest(nn.Sequential(one[0], nn.Tanh()), None)
    files = [tmp_path / name for name in "ab"]
    for file in files:
        torch.save(file.name, file)
    assert len({network_digest(nn.ReLU(), file) for file in files}) == 2


def test_a_network_is_known_by_what_it_does(tmp_path: Path) -> None:
    one, rounded, other = (Owner("same", [1, 2, 2], numbers) for numbers in ([1.0, 2.0], [1.0, 2.0001], [1.0, 2.1]))
    note_network(tmp_path, one)
    refuse_other_network(tmp_path, rounded)
    refuse_other_network(tmp_path, Owner("same", [1, 2, 2], []))  # it draws at random
    refuse_other_network(tmp_path, Owner("same", [1, 4, 4], [9.0, 9.0]))  # for images of another size
    with pytest.raises(UserError, match="another network"):
        refuse_other_network(tmp_path, other)


@wrong_input
@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"digest": 1, "shape": [], "behaviour": []}'])
def test_results_beside_a_damaged_note_are_not_replaced(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "network").write_bytes(text)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match="do not record their network"):
        refuse_other_network(tmp_path, Owner("mine", [1, 2, 2], []))
