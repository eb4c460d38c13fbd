"""The entries of docs/add.md: those that tests/pipeline/test_new_entries.py adds, and three that are run here."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from cure.core.noise import PerImage
from cure.settings.base import Augment
from tests.support.new_entries import ENTRIES, FILES, LINES, PAGE


def run(name):
    """The module that the page shows under this path, as a namespace."""
    names = {}
    exec(compile(ENTRIES[name], name, "exec"), names)
    return names


def test_the_page_names_the_files_and_lines_of_the_entries_that_are_reproduced():
    places = [f"{name.rpartition('/')[0]}/NAME.py" for name in FILES]
    assert [place for place in (*places, *LINES) if f"`{place}`" not in PAGE] == []


def test_the_settings_of_the_page_are_those_that_are_reproduced():
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    shown = [YAML(typ="safe").load(block) for block in blocks]
    assert len(shown) == 5
    for _, line in LINES.values():
        assert any(line.strip() in (part.strip() for part in block.splitlines()) for block in blocks), line


def test_the_model_classifies():
    found = run("cure/models/linear.py")
    net = found["MODEL"](found["Hyper"](), 1, 3)
    x = torch.rand(5, 1, 8, 8)
    assert net(x).shape == (5, 3)
    assert net.features(x, ["pooled"])["pooled"].shape == (5, 4)


def test_the_data_set_has_both_splits_and_a_bright_line_in_each_image():
    found = run("cure/datasets/stripes.py")
    hyper = found["Hyper"](validation=64, split_seed=0, augment=Augment(crop=0, padding="zero", flip=False))
    assert found["missing"](hyper, Path()) is None
    raw = found["read"](hyper, Path())
    images, labels = raw.test
    rows, columns = ((images[:, 0].min(axis=axis) == 255).any(axis=1) for axis in (2, 1))
    assert np.array_equal(rows, labels == 0)
    assert np.array_equal(columns, labels == 1)


@pytest.mark.parametrize("severity", [1, 5])
def test_the_corruption_dims(severity):
    corruption = run("cure/corruptions/dimmed.py")["CORRUPTION"]
    x = torch.full((2, 1, 8, 8), 0.5)
    noise = PerImage(0, torch.arange(2))
    assert corruption(x, severity, noise).mean().item() == pytest.approx(0.5 * (1 - severity / 10), abs=1 / 255)
