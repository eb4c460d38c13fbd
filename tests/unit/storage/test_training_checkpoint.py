"""Networks of a training checkpoint: built as their training built them, by the settings that the file carries."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cure import catalogue
from cure.errors import UserError
from cure.nn.batchnorm import is_split
from cure.storage.checkpoint import Description, build
from cure.storage.training_checkpoint import networks, training_settings
from tests.support import descriptions
from tests.support.method_harness import same
from tests.support.settings import GONE, QUICKSTART, changed

ARAT = catalogue.entry("methods", "arat").METHOD
KEY = "methods.arat.update"
PATH = Path("arat-s0.safetensors")


def trained(raw: dict[str, Any]) -> Description:
    """The description of a training of AR-AT by this params.yaml."""
    params = {"train": raw["train"], "threat": raw["threat"], KEY: raw["methods"]["arat"]["update"]}
    natural = descriptions.natural("small", {"width": 4}, [str(i) for i in range(10)], "0" * 64)
    return natural.model_copy(update={"kind": "trajectory", "method": "arat", "params": params})


@pytest.mark.parametrize("preset", ["plain", "no_split_batchnorm", "no_predictor"])
def test_batch_norms_are_split_where_the_training_split_them(preset: str) -> None:
    about = trained(changed(QUICKSTART, f"{KEY}.preset", preset))
    hyper = training_settings(about, ARAT)
    net = build("small", {"width": 4}, 1, 10)
    ARAT.prepare(net, hyper)
    predictor = {"layer2_bn1.0.weight": torch.ones(1)}
    found = networks(about, {"last": net.state_dict(), "predictor": predictor}, PATH, ARAT)
    assert list(found) == ["last"]
    assert same(found["last"].state_dict(), net.state_dict())
    assert is_split(found["last"]) == hyper.split_batchnorm == (preset != "no_split_batchnorm")


@pytest.mark.reliability("wrong inputs")
def test_a_file_of_another_version_is_refused_by_its_name_and_the_setting_that_it_lacks() -> None:
    about = trained(changed(QUICKSTART, f"{KEY}.split_batchnorm", GONE))
    said = rf"^{PATH}: its settings are of another version, so train it again \({KEY}\.split_batchnorm: missing\)$"
    with pytest.raises(UserError, match=said):
        networks(about, {"last": build("small", {"width": 4}, 1, 10).state_dict()}, PATH, ARAT)
