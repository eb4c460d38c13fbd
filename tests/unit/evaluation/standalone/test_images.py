"""Which images an evaluation sees."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cure.data.prepared import load
from cure.errors import UserError
from cure.evaluation.standalone.images import prepared
from cure.evaluation.standalone.plan import opened, published
from cure.settings.params import Params
from cure.storage import resume
from tests.support.command_line import FEW, call

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "FOLDER", tmp_path / "scratch")


def test_digits_are_those_of_the_quickstart_anywhere(pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = prepared("digits", opened(published(), "digits", ""), published())
    assert path.is_relative_to(tmp_path / "scratch")
    assert path.read_bytes() == (pipeline / "data/digits.safetensors").read_bytes()


def test_a_network_is_evaluated_on_digits_in_an_empty_folder(weights, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shutil.copy(weights, "mine.safetensors")
    code, shown, said = call("eval", "mine.safetensors", "--data", "digits", *FEW)
    assert (code, "mine on 40 test images of digits" in said, "mine" in shown) == (0, True, True)


@pytest.mark.reliability("wrong inputs")
def test_a_missing_section_says_which_file_was_read(pipeline, monkeypatch):
    settings = pipeline / "params.yaml"
    said = f"--data cifar10: {settings} has no section datasets.cifar10; name one by --params"
    with pytest.raises(UserError, match=re.escape(said)):
        prepared("cifar10", opened(settings, "cifar10", ""), settings)


@pytest.mark.reliability("wrong inputs")
def test_a_section_of_no_use_is_not_replaced_by_defaults(tmp_path):
    params = Params({"datasets": {"digits": {"test": 2}}}, ["datasets.digits"], "digits", "")
    with pytest.raises(UserError, match=r"datasets\.digits\.test: "):
        prepared("digits", params, tmp_path / "params.yaml")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A pipeline folder, with images beside its params.yaml."""
    draws = np.random.default_rng(0)
    for name in ("train/a/1", "train/a/2", "train/a/3", "train/b/1", "train/b/2", "train/b/3", "test/a/1", "test/b/1"):
        path = tmp_path / "project/images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (4, 4), dtype=np.uint8)).save(path)
    return tmp_path / "project"


def of_the_folder(folder: Path) -> Path:
    section = {"path": "images", "colour": "grey"}
    params = Params({"datasets": {"folder": section}}, ["datasets.folder"], "folder", "")
    return prepared("folder", params, folder / "params.yaml")


def test_a_path_is_relative_to_params_yaml_wherever_the_command_runs(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(load(of_the_folder(folder), ("test",), CPU).splits["test"]) == 2


def test_a_folder_that_gets_an_image_is_prepared_again(folder):
    first = of_the_folder(folder)
    assert of_the_folder(folder) == first
    Image.new("L", (4, 4), 9).save(folder / "images/test/a/2.png")
    again = of_the_folder(folder)
    assert again != first
    assert [len(load(path, ("test",), CPU).splits["test"]) for path in (first, again)] == [2, 3]
