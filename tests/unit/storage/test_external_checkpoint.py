"""External checkpoints: every usual wrapping loads to the same logits, and nothing pickled ever runs."""

import argparse
import os
import re
import sys
from collections import defaultdict, deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.torch_version import TorchVersion

from cure.core.network import Normalisation
from cure.errors import UserError
from cure.storage.checkpoint import build
from cure.storage.external_checkpoint import Loading, Shape, network
from cure.storage.open_checkpoint import open_checkpoint

SETTINGS = {"small": {"width": 4}, "resnet18": {}}
MEAN, STD = [0.3], [0.2]


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = build("small", SETTINGS["small"], 1, 10)
    with torch.no_grad():
        made(torch.rand(16, 1, 8, 8))  # running statistics of its own
    return made.eval()


@pytest.fixture
def x():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def read(path, *, shape=None, trust=False, seconds=60, **how):
    loading = Loading(**({"model": "small"} | how), trust_code=trust)
    opened, example = None if path is None else open_checkpoint(path), torch.rand(2, 1, 8, 8)
    found = network(opened, loading, shape or Shape(1, 10), SETTINGS, example, seconds)
    assert not found.net.training
    assert not any(w.requires_grad for w in found.net.parameters())
    return found


def saved(path: Path, held) -> Path:
    torch.save(held, path)
    return path


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


WRAPPINGS = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}}},
    "net": lambda s: {"net": s, "acc": 91.2},
    "nested": lambda s: {"checkpoint": {"model": {"state_dict": s}}},
    "data_parallel": lambda s: prefixed(s, "module."),
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "wrapped": lambda s: {"state_dict": prefixed(s, "module.model.")},
    "half": lambda s: {key: t.half() if t.is_floating_point() else t for key, t in s.items()},
    "double": lambda s: {key: t.double() if t.is_floating_point() else t for key, t in s.items()},
    "old": lambda s: {key: t for key, t in s.items() if not key.endswith("num_batches_tracked")},
    "all half": lambda s: {key: t.half() for key, t in s.items()},
    "average": lambda s: prefixed(s, "module.") | {"n_averaged": torch.tensor(5)},
    "lightning": lambda s: {"state_dict": prefixed(s, "model.") | {"criterion.weight": torch.ones(10)}},
    "attacker": lambda s: {"model": attacker(s), "epoch": 5},
    "encoder": lambda s: prefixed(s, "encoder."),
    "encoder beside its head": lambda s: prefixed(body(s), "encoder.") | head(s),
    "encoder beside its head, in parallel": lambda s: prefixed(prefixed(body(s), "encoder.") | head(s), "module."),
    "encoder beside a projector": lambda s: prefixed(s, "encoder.") | {"projector.0.weight": torch.ones(3, 3)},
    "of many libraries": lambda s: prefixed(s, "module._orig_mod.wrapped_by_someone."),
    "argparse": lambda s: {"state_dict": s, "args": argparse.Namespace(lr=0.1, out=Path("runs"), drops=[1, 2])},
    "numpy scalar": lambda s: {"state_dict": s, "best": np.float64(0.5), "epoch": np.int64(3), "ok": np.bool_(True)},
    "numpy array": lambda s: {"state_dict": s, "history": np.arange(6.0).reshape(2, 3), "words": np.array(["a"])},
    "defaultdict": lambda s: {"net": s, "log": defaultdict(list, {"acc": [1, 2]}), "n": defaultdict(float)},
    "in a defaultdict": lambda s: defaultdict(dict, {"state_dict": s}),
    "others": lambda s: {"net": s, "when": datetime.now(tz=UTC), "last": deque([1]), "torch": torch.__version__},
    "old pickle": lambda s: {"net": s, "version": TorchVersion("2.1"), "at": timedelta(1), "in": SimpleNamespace(a=1)},
}


def body(state):
    return {key: t for key, t in state.items() if not key.startswith("linear.")}


def head(state):
    return {key: t for key, t in state.items() if key.startswith("linear.")}


def attacker(state):
    """As the attacker of MadryLab's robustness library holds it: twice, and with its normalisation twice."""
    held = prefixed(state, "module.model.") | prefixed(state, "module.attacker.model.")
    for place in ("module.normalizer.", "module.attacker.normalize."):
        held |= {f"{place}new_mean": torch.zeros(1, 1, 1), f"{place}new_std": torch.ones(1, 1, 1)}
    return held


@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_wrapping_gives_the_same_logits(net, x, tmp_path, name):
    found = read(saved(tmp_path / "checkpoint.pt", WRAPPINGS[name](net.state_dict())))
    torch.testing.assert_close(found.net(x), net(x), atol=1e-2 if "half" in name else 1e-6, rtol=0)


def test_safetensors_without_a_description_are_a_state_dict(net, x, tmp_path):
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    assert torch.equal(read(tmp_path / "weights.safetensors").net(x), net(x))


def test_a_state_dict_that_fits_one_model_needs_no_name(net, x, tmp_path):
    found = read(saved(tmp_path / "a.pt", net.state_dict()), model=None)
    assert torch.equal(found.net(x), net(x))
    assert "network small" in found.notes


def test_the_hyperparameters_of_lightning_are_read_as_nothing(net, x, tmp_path, monkeypatch):
    module, parts = ModuleType("data"), ["lightning", "fabric", "utilities", "data"]
    for depth in range(1, 1 + len(parts)):  # Lightning itself need not be here
        monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), module)
    module.AttributeDict = type("AttributeDict", (dict,), {"__module__": "lightning.fabric.utilities.data"})
    held = {"state_dict": net.state_dict(), "hyper_parameters": module.AttributeDict(lr=0.1)}
    assert torch.equal(read(saved(tmp_path / "a.pt", held)).net(x), net(x))


@pytest.mark.reliability("wrong inputs")
def test_a_key_needs_a_file(package):
    with pytest.raises(UserError, match="--key ema: the result of --factory has only one network"):
        read(None, model=None, factory=f"{package}:make", key="ema")


def test_what_is_left_out_of_a_file_is_said(net, tmp_path):
    rest = {f"criterion.{k}": torch.ones(3) for k in range(5)}
    found = read(saved(tmp_path / "a.pt", prefixed(net.state_dict(), "model.") | rest))
    assert found.notes == ["left out of the checkpoint: criterion.0, criterion.1, criterion.2 and 2 more"]


def other(state):
    return {key: t + 1 for key, t in state.items()}


SEVERAL = {  # what a file holds -> the key of the network, and that of the other one
    "raw and average": (lambda s: {"model_state_dict": other(s), "ema_state_dict": s}, "ema_state_dict", "model_state"),
    "nested": (lambda s: {"epoch": 1, "nets": {"raw": other(s), "ema": s}}, "nets.ema", "nets.raw"),
    "teacher and student": (lambda s: prefixed(other(s), "teacher.") | prefixed(s, "student."), "student", "teacher"),
    "of momentum": (
        lambda s: {"net": prefixed(s, "encoder_q.") | prefixed(other(s), "encoder_k.")},
        "net.encoder_q",
        "k",
    ),
    "in parallel": (
        lambda s: prefixed(prefixed(s, "a.") | prefixed(other(s), "b."), "module."),
        "module.a",
        "module.b",
    ),
    "beside its average": (lambda s: s | prefixed(other(s), "ema."), ".", "ema"),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("kind", SEVERAL)
def test_of_several_networks_one_is_named(net, x, tmp_path, kind):
    make, key, second = SEVERAL[kind]
    path = saved(tmp_path / "a.pt", make(net.state_dict()))
    with pytest.raises(
        UserError, match=r"a.pt: holds 2 networks that fit: .*; name one by --key \(Python: key="
    ) as refused:
        read(path)
    assert key in str(refused.value)
    assert second in str(refused.value)
    found = read(path, key=key)
    assert torch.equal(found.net(x), net(x))
    assert any(note.startswith("weights of ") and second in note for note in found.notes)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("ema_state", "--key ema_state: no such network, did you mean ema_state_dict?"),
        ("optimizer", "--key optimizer: no such network; known: ema_state_dict, net"),
        ("", "--key : no such network; known: ema_state_dict, net"),
        ("critic", "does not fit small: stem.conv1.weight is missing, and"),
    ],
)
def test_a_key_of_no_network_is_refused(net, tmp_path, key, said):
    state = net.state_dict()
    held = {"net": state, "ema_state_dict": other(state), "critic": {"w": torch.ones(3)}, "optimizer": {"lr": 1}}
    with pytest.raises(UserError, match=re.escape(said)):
        read(saved(tmp_path / "a.pt", held), key=key)


def test_equal_networks_are_one(net, x, tmp_path):
    state = net.state_dict()
    found = read(saved(tmp_path / "a.pt", {"net": state, "best": {key: t.clone() for key, t in state.items()}}))
    assert torch.equal(found.net(x), net(x))


def test_a_network_that_does_not_fit_is_told_from_the_one_that_does(net, tmp_path):
    found = read(saved(tmp_path / "a.pt", {"critic": {"w": torch.ones(3)}, "net": net.state_dict()}))
    assert found.notes == ["weights of net, not of critic"]


def test_a_normalisation_inside_the_checkpoint_is_applied(net, x, tmp_path):
    state = net.state_dict() | {"mu": torch.tensor(MEAN)[:, None, None], "sigma": torch.tensor(STD)[:, None, None]}
    found = read(saved(tmp_path / "a.pt", state))
    torch.testing.assert_close(found.net(x), net((x - 0.3) / 0.2))
    assert "mean [0.3], std [0.2]" in found.notes[0]


@pytest.mark.parametrize(
    ("prefix", "names"), [("model.", ("mu", "sigma")), ("1.", ("0.mean", "0.std")), ("net.", ("norm.mean", "norm.std"))]
)
def test_a_normalisation_beside_a_wrapped_network_is_found(net, x, tmp_path, prefix, names):
    beside = dict(zip(names, (torch.tensor(MEAN), torch.tensor(STD)), strict=True))
    found = read(saved(tmp_path / "a.pt", prefixed(net.state_dict(), prefix) | beside), model=None)
    torch.testing.assert_close(found.net(x), net((x - 0.3) / 0.2))


def test_a_normalisation_that_a_file_holds_twice_is_applied_once(net, x, tmp_path):
    held = attacker(net.state_dict())
    held |= {key: torch.full((1, 1, 1), 0.3 if key.endswith("mean") else 0.2) for key in held if ".new_" in key}
    torch.testing.assert_close(read(saved(tmp_path / "a.pt", held)).net(x), net((x - 0.3) / 0.2))


def test_of_two_normalisations_the_one_of_the_network_counts(net, x, tmp_path):
    held = {f"{who}.net.{key}": t for who in ("student", "teacher") for key, t in net.state_dict().items()}
    held = {key: t + 1 if key.startswith("teacher") else t for key, t in held.items()}
    held |= {f"{who}.norm.{what}": torch.tensor([v]) for who, m in (("teacher", 0.9), ("student", 0.3))
             for what, v in (("mean", m), ("std", 0.2))}  # fmt: skip
    found = read(saved(tmp_path / "a.pt", held), key="student.net")
    torch.testing.assert_close(found.net(x), net((x - 0.3) / 0.2))


@pytest.mark.reliability("wrong inputs")
def test_two_normalisations_that_differ_are_refused(net, tmp_path):
    held = attacker(net.state_dict()) | {"module.normalizer.new_mean": torch.full((1, 1, 1), 0.3)}
    with pytest.raises(UserError, match=r"a.pt: holds normalisations that differ \(module.normalizer.new_mean, "):
        read(saved(tmp_path / "a.pt", held))


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("mean", "std"), [([0.3], [0.0]), ([0.3], [-1.0]), ([float("nan")], [1.0]), ([-0.3], [1.0]), ([0.3] * 2, [1.0] * 2)]
)
def test_numbers_that_normalise_nothing_are_unknown_tensors(net, tmp_path, mean, std):
    state = net.state_dict() | {"mean": torch.tensor(mean), "std": torch.tensor(std)}
    with pytest.raises(UserError, match="does not fit small: mean is unknown, and 1 more; the file holds mean, std"):
        read(saved(tmp_path / "a.pt", state))


def test_no_image_is_normalised_twice(net, tmp_path):
    state = net.state_dict() | {"mean": torch.tensor(MEAN), "std": torch.tensor(STD)}
    with pytest.raises(UserError, match="has its own normalisation; leave --mean and --std out"):
        read(saved(tmp_path / "a.pt", state), normalisation=Normalisation(mean=MEAN, std=STD))


def test_a_normalisation_before_another_is_doubted(net, monkeypatch):
    net.register_buffer("mean", torch.tensor(MEAN))
    monkeypatch.setattr("cure.storage.external_checkpoint.from_factory", lambda *_: net)
    how = Normalisation(mean=MEAN, std=STD)
    found = read(None, model=None, factory="a:b", normalisation=how)
    assert found.notes == ["--mean and --std come before the network's own mean: is it normalised twice?"]


def test_weights_of_half_precision_are_noted(net, tmp_path):
    found = read(saved(tmp_path / "a.pt", WRAPPINGS["half"](net.state_dict())))
    assert found.notes == ["weights of float16, evaluated in float32"]


def test_a_normalisation_of_the_command_line_is_applied(net, x, tmp_path):
    found = read(saved(tmp_path / "a.pt", net.state_dict()), normalisation=Normalisation(mean=MEAN, std=STD))
    torch.testing.assert_close(found.net(x), net((x - 0.3) / 0.2))


def test_a_normalisation_needs_a_value_for_each_channel(net, tmp_path):
    with pytest.raises(UserError, match=r"--mean and --std need one value for each of the 1 channels"):
        read(saved(tmp_path / "a.pt", net.state_dict()), normalisation=Normalisation(mean=[0.1] * 3, std=[1.0] * 3))


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(
        "import torch\nfrom cure.storage.checkpoint import build\n"
        "def make():\n    torch.manual_seed(7)\n    return build('small', {'width': 4}, 1, 10)\n"
        "def number():\n    return 3\n"
        "def needs(x):\n    return x\n"
        "def leave():\n    raise SystemExit(0)\n"
        "def leave_quietly():\n    raise SystemExit\n"
        "def key():\n    return {}['width']\n"
    )
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit('usage: train.py [-h]')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "theirs"
    sys.modules.pop("theirs", None)


def test_a_factory_in_the_working_folder_is_found_behind_all_else(net, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/net_of_this_folder.py").write_text(
        "import colorsys\nfrom cure.storage.checkpoint import build\n"
        "def make():\n    assert hasattr(colorsys, 'rgb_to_hsv')\n    return build('small', {'width': 4}, 1, 10)\n"
    )
    (tmp_path / "here/colorsys.py").write_text("raise RuntimeError('stands in for a module of Python')\n")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    read(saved(tmp_path / "a.pt", net.state_dict()))
    assert str(tmp_path / "here") not in sys.path  # for this option alone
    read(saved(tmp_path / "a.pt", net.state_dict()), model=None, factory="net_of_this_folder:make")
    assert sys.path[-1] == str(tmp_path / "here")
    sys.modules.pop("net_of_this_folder", None)


def test_a_factory_is_filled_with_the_checkpoint(net, x, tmp_path, package):
    found = read(saved(tmp_path / "a.pt", net.state_dict()), model=None, factory=f"{package}:make")
    assert torch.equal(found.net(x), net(x))


def test_a_factory_without_a_checkpoint_keeps_its_own_weights(x, package):
    first, second = (read(None, model=None, factory=f"{package}:make").net(x) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("theirs:absent", "has no attribute 'absent'"),
        ("nowhere:make", "No module named 'nowhere'"),
        ("theirs:number", "returned a int, not a torch.nn.Module"),
        ("theirs:needs", "missing 1 required positional argument"),
        ("theirs:leave", "--factory theirs:leave: its code called sys.exit(0); take that call out"),
        ("theirs:leave_quietly", "its code called sys.exit(None)"),
        ("leaving:make", "--factory leaving:make: its code called sys.exit('usage: train.py [-h]')"),
        ("theirs:key", "--factory theirs:key: KeyError: 'width'; it must be"),
        ("theirs", "it must be package.module:function of no arguments"),
    ],
)
def test_a_wrong_factory_is_refused(package, name, said):
    with pytest.raises(UserError, match=re.escape(said)):
        read(None, model=None, factory=name)


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("form", ["state_dict", "whole", "legacy", "legacy beside a network"])
def test_nothing_pickled_runs(net, tmp_path, form):
    trace = tmp_path / "ran"
    path = tmp_path / "evil.pt"
    if form == "state_dict":
        saved(path, {"state_dict": net.state_dict(), "extra": Malicious(trace)})
    elif form == "whole":
        torch.save(net, path)
    else:
        held = {"a": Malicious(trace)} | ({"net": net.state_dict()} if "beside" in form else {})
        torch.save(held, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"holds pickled code \([\w.]+\), which is never run"):
        read(path)
    assert not trace.exists()


def test_the_trap_does_run_where_pickles_are_trusted(tmp_path):
    saved(tmp_path / "evil.pt", Malicious(tmp_path / "ran"))
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "stem.conv1.weight"}, "stem.conv1.weight is missing"),
        (lambda s: s | {"other.weight": torch.zeros(3)}, "other.weight is unknown; the file holds other.weight"),
        (
            lambda s: {f"backbone.{k.replace('stem', 'root')}": t for k, t in s.items()},
            "stem.conv1.weight is missing, and",
        ),
        (
            lambda s: {f"net.{k.replace('stem', 'root')}": t for k, t in s.items()},
            "; the file holds net.root.conv1.weight, net.",
        ),
        (
            lambda s: s | {"stem.conv1.weight": torch.zeros(8, 1, 3, 3)},
            "stem.conv1.weight is (8, 1, 3, 3), not (4, 1, 3, 3)",
        ),
        (lambda s: {"epoch": 3}, "holds no state dict"),
        (lambda s: [1, 2], "holds no state dict"),
    ],
)
def test_what_does_not_fit_is_said(net, tmp_path, spoil, said):
    with pytest.raises(UserError, match=re.escape(said)):
        read(saved(tmp_path / "a.pt", spoil(net.state_dict())))


def test_another_class_count_is_said(net, tmp_path):
    with pytest.raises(UserError, match=r"linear.weight is \(10, \d+\), not \(7, \d+\)"):
        read(saved(tmp_path / "a.pt", net.state_dict()), shape=Shape(1, 7))


def test_what_fits_no_model_asks_for_one(tmp_path):
    with pytest.raises(UserError, match="fits none of resnet18, small; name its --model, or a --factory"):
        read(saved(tmp_path / "a.pt", {"w": torch.zeros(3)}), model=None)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("content", [b"", b"<html>404", b"\x80\x02garbage", bytes(300)])
def test_other_bytes_are_refused(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read(tmp_path / "a.pt")


@pytest.mark.reliability("wrong inputs")
def test_half_a_file_is_refused(net, tmp_path):
    path = saved(tmp_path / "a.pt", net.state_dict())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read(path)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UserError, match="not found"):
        read(tmp_path / "absent.pt")


def test_without_file_and_factory_there_is_nothing_to_evaluate():
    with pytest.raises(UserError, match="nothing to evaluate"):
        read(None)
