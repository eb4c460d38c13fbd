"""What builds the network of an external state dict: a factory with arguments, timm, torchvision."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from cure.errors import UserError
from cure.storage.external_checkpoint import Loading, Shape, network
from cure.storage.open_checkpoint import open_checkpoint

SMALLEST = "squeezenet1_1"
COLOUR = Shape(3, 10)


def read(path: Path | None, shape: Shape = COLOUR, **how) -> nn.Module:
    opened, example = None if path is None else open_checkpoint(path), torch.rand(2, shape.channels, 40, 40)
    return network(opened, Loading(**how), shape, {}, example, 60).net


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's module, and a stand-in for timm, both importable."""
    (tmp_path / "of_a_user.py").write_text(
        "from torch import nn\n"
        "def make(classes, bias=True):\n    return nn.Sequential(nn.Flatten(), nn.Linear(4800, classes, bias=bias))\n"
    )
    (tmp_path / "timm.py").write_text(
        "from torch import nn\n"
        "def list_models():\n    return ['vit_tiny', 'resnet26']\n"
        "def create_model(name, pretrained, num_classes, in_chans, scale=1):\n"
        "    assert (name, pretrained) == ('vit_tiny', False)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * 1600 * scale, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("of_a_user", "timm"):
        sys.modules.pop(name, None)


def saved(path: Path, net: nn.Module) -> Path:
    torch.save({"state_dict": net.state_dict()}, path)
    return path


def flat(classes: int, bias: bool = True, values: int = 4800) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(values, classes, bias=bias))


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_a_factory_gets_its_arguments(package):
    net = flat(7, bias=False)
    how = {"factory": "of_a_user:make", "factory_args": {"classes": 7, "bias": False}}
    assert same(read(saved(package / "a.pt", net), **how), net)
    assert read(None, **how)[1].weight.shape == (7, 4800)


def test_torchvision_builds_a_network_with_the_classes_of_the_data(tmp_path):
    net = models.get_model(SMALLEST, weights=None, num_classes=10).eval()
    assert same(read(saved(tmp_path / "a.pt", net), model=f"torchvision:{SMALLEST}"), net)


def test_arguments_go_before_what_the_data_say(tmp_path):
    net = models.get_model(SMALLEST, weights=None, num_classes=4).eval()
    how = {"model": f"torchvision:{SMALLEST}", "factory_args": {"num_classes": 4, "dropout": 0.1}}
    found = read(saved(tmp_path / "a.pt", net), **how)
    assert same(found, net)
    assert next(module.p for module in found.modules() if isinstance(module, nn.Dropout)) == 0.1


def test_timm_gets_classes_and_channels_of_the_data_and_downloads_nothing(package):
    grey = flat(10, values=1600)
    assert same(read(saved(package / "a.pt", grey), Shape(1, 10), model="timm:vit_tiny"), grey)
    wide = flat(10, values=9600)
    assert same(read(saved(package / "b.pt", wide), model="timm:vit_tiny", factory_args={"scale": 2}), wide)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"model": "timm:vit_tinny"}, "--model timm:vit_tinny: timm has no such model, did you mean vit_tiny?"),
        ({"model": "torchvision:fcn_resnet50"}, "--model torchvision:fcn_resnet50: torchvision has no such model"),
        ({"model": "keras:vgg"}, "--model keras:vgg: no such library; known: timm:NAME, torchvision:NAME"),
        (
            {"model": "timm:vit_tiny", "factory_args": {"depth": 3}},
            "--model timm:vit_tiny: TypeError: create_model() got an unexpected keyword argument 'depth'",
        ),
        (
            {"model": "small", "factory_args": {"width": 3}},
            "--factory-args: only with --factory, or with --model timm:NAME",
        ),
        ({"factory": "of_a_user:make"}, "missing 1 required positional argument: 'classes'; it must be"),
        ({"factory": "of_a_user:make", "factory_args": {"classes": 7}}, "does not fit of_a_user:make"),
    ],
)
def test_a_builder_that_is_wrong_is_refused_by_its_option(package, how, said):
    with pytest.raises(UserError, match=re.escape(said)):
        read(saved(package / "a.pt", flat(10)), **how)


@pytest.mark.reliability("wrong inputs")
def test_a_library_that_is_not_installed_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="the package timm is not installed; `uv pip install timm` installs it"):
        read(saved(tmp_path / "a.pt", flat(10)), model="timm:vit_tiny")
