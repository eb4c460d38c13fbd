"""What goes into the file of a data set."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cure.data import prepared
from cure.data.prepare import prepare
from cure.datasets.folder import Hyper


@pytest.mark.parametrize(
    ("each", "validation", "expected"), [(4, None, 3), (20, None, 6), (20, 9, 9)], ids=["a tenth is 1", "a tenth", "9"]
)
def test_validation_is_a_tenth_or_one_of_each_class_or_what_is_named(tmp_path: Path, each, validation, expected):
    draws = np.random.default_rng(0)
    for split, count in (("train", each), ("test", 1)):
        for name in ("ant", "bee", "cat"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = draws.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{k}.png")
    hyper = Hyper(path=str(tmp_path / "images"), validation=validation)
    counts = prepare("folder", hyper, tmp_path / "folder.safetensors")
    assert counts == {"train": 3 * each - expected, "val": expected, "test": 3}
    held = prepared.load(tmp_path / "folder.safetensors", ("val",), torch.device("cpu")).splits["val"]
    assert set(held.labels.tolist()) == {0, 1, 2}
