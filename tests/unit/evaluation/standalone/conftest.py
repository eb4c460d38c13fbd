"""A small pipeline folder: digits prepared, a network trained for seconds, and cheap attacks in params.yaml."""

import copy
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cure.data import prepared
from cure.data.loader import as_float
from cure.data.prepare import prepare
from cure.nn import memory_format
from cure.settings import params
from cure.settings.params import Params, read
from cure.storage import checkpoint, program_trial
from cure.storage.checkpoint import build
from tests.support import descriptions
from tests.support.method_harness import QUICKSTART

CHEAP = {"steps": 3, "iterations": 3, "queries": 20, "aa": 30, "min_l(?:inf|2)": 20, "images": 40}


@pytest.fixture(scope="module", autouse=True)
def without_waiting() -> Iterator[None]:
    """One parse of each text of a params.yaml, no probing for the faster layout, and no process for each program.

    tests/unit/storage/test_program_trial.py has programs in processes of their own.
    """
    parse = functools.cache(params.YAML(typ="safe", pure=True).load)
    with pytest.MonkeyPatch.context() as patch:
        parser = type("Parser", (), {"load": staticmethod(lambda text: copy.deepcopy(parse(text)))})
        patch.setattr(params, "YAML", lambda **_: parser)
        patch.setattr(memory_format, "_fastest", lambda net, x: 0.0)
        patch.setattr(program_trial, "_try", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cure.datasets import digits

    folder = tmp_path_factory.mktemp("pipeline")
    text = QUICKSTART.read_text()
    for key, value in CHEAP.items():
        text = re.sub(rf"(?m)^( +(?:{key}):) \S.*$", rf"\1 {value}", text)
    (folder / "params.yaml").write_text(text)
    raw = read(folder / "params.yaml")
    hyper = Params(raw, ["datasets.digits"], "digits").get("datasets.digits", digits.Hyper)
    prepare("digits", hyper, folder / "data/digits.safetensors")
    return folder


@pytest.fixture(scope="session")
def trained(pipeline: Path) -> torch.nn.Module:
    """A network that knows its digits; its training is no part of what is tested here."""
    torch.manual_seed(0)
    split = prepared.load(pipeline / "data/digits.safetensors", ("train",), torch.device("cpu")).splits["train"]
    net = build("small", {"width": 8}, 1, 10).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        rows = torch.randint(len(split), (128,))
        loss = F.cross_entropy(net(as_float(split.images[rows])), split.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def weights(pipeline: Path, trained: torch.nn.Module) -> Path:
    """The network as a file of this pipeline."""
    source = prepared.load(pipeline / "data/digits.safetensors", ("train",), torch.device("cpu"))
    about = descriptions.natural("small", {"width": 8}, source.classes, source.digest)
    path = pipeline / "weights/digits/small/natural-s0.safetensors"
    checkpoint.save(path, {"": trained.state_dict()}, about)
    return path


@pytest.fixture(scope="session")
def test_images(pipeline: Path) -> tuple[torch.Tensor, torch.Tensor]:
    split = prepared.load(pipeline / "data/digits.safetensors", ("test",), torch.device("cpu")).splits["test"]
    return split.images, split.labels
