"""The folded twin: the same function, where it is known to be one; the network itself, where it is not."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from cure import catalogue
from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.nn import folding
from cure.nn.batchnorm import split
from cure.nn.folding import twin
from cure.settings.base import Search
from cure.storage.checkpoint import build

SETTINGS = {"small": {"width": 8}, "small_resnet": {"width": 4}}


@pytest.fixture(autouse=True)
def untyped() -> Iterator[None]:
    """Tracing runs a network on symbols, which the tests' checks of shapes would take for a mistake."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def images(n: int = 4, channels: int = 3, size: int = 32) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def stirred(net: nn.Module) -> nn.Module:
    """With running statistics and affine weights that are not those of a fresh network."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net.eval()


def norms(net: nn.Module) -> int:
    """Batch norms that a forward of the twin still runs."""
    return sum(
        node.op == "call_module" and isinstance(net.get_submodule(node.target), nn.BatchNorm2d)
        for node in net.graph.nodes
    )


@pytest.mark.parametrize("model", [name for name in catalogue.names("models") if name != "wrn_34_10"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_the_twin_of_every_model_gives_its_logits(model, layout) -> None:
    net, x = stirred(build(model, SETTINGS.get(model, {}), 3, 10)), images()
    folded = twin(net, x, layout)
    assert folded is not net
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5 * float(net(x).abs().max()))


@pytest.mark.parametrize(("model", "left"), [("small", 0), ("resnet18", 0), ("preact_resnet18", 9)])
def test_every_batch_norm_behind_a_convolution_is_gone(model, left) -> None:
    assert norms(twin(stirred(build(model, SETTINGS.get(model, {}), 3, 10)), images(), "contiguous")) == left


def test_the_network_itself_stays_as_it_was(make_net) -> None:
    net = make_net(dtype=torch.float32)  # in training mode, unfrozen
    before = {key: value.clone() for key, value in net.state_dict().items()}
    folded = twin(net, images(4, 1, 6), "channels_last")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training
    assert all(weight.requires_grad for weight in net.parameters())
    assert net.conv1.weight.is_contiguous()
    assert not any(weight.requires_grad for weight in folded.parameters())
    assert not folded.training


def test_a_normalising_first_layer_is_part_of_the_twin() -> None:
    how = {"width": 8, "normalise": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}}
    net, x = stirred(build("small", how, 3, 10)), images()
    folded = twin(net, x, "contiguous")
    assert folded is not net
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)


def test_split_batch_norm_folds_the_active_branch(make_net) -> None:
    net, x = make_net(dtype=torch.float32).eval(), images(4, 1, 6)
    split(net, ("clean", "adv"))
    net.bn1["adv"].running_mean += 1
    folded = twin(net, x, "contiguous")
    assert folded is not net
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + torch.randn(1, 36)


class Frozen(nn.Module):
    """Draws once per process, so that two forwards agree, but a trace holds another draw."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        return x.flatten(1) * self.forwards


@pytest.mark.parametrize("kind", [Branching, Random, Frozen])
def test_a_network_whose_structure_is_not_known_is_its_own_twin(kind) -> None:
    net = kind()
    assert twin(net, images(4, 1, 6), "channels_last") is net


def test_a_convolution_that_others_use_too_keeps_its_batch_norm() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(x)
            return (self.bn(h) + h).mean((2, 3))

    net, x = stirred(Twice()), images(4, 1, 6)
    folded = twin(net, x, "contiguous")
    assert norms(folded) == 1
    with torch.no_grad():
        assert torch.equal(folded(x), net(x))


def test_the_probe_measures_once_and_takes_the_faster_layout(make_net, monkeypatch) -> None:
    measured: list[bool] = []

    def slow_unless_channels_last(net: nn.Module, x: Tensor) -> float:
        last = net.conv1.weight.is_contiguous(memory_format=torch.channels_last) and net.conv1.weight.shape[1] > 1
        last = net.conv2.weight.stride(1) == 1
        measured.append(last)
        return 1.0 if last else 2.0

    monkeypatch.setattr(folding, "_chosen", {})
    monkeypatch.setattr(folding, "_fastest", slow_unless_channels_last)
    for _ in range(2):
        folded = twin(make_net(dtype=torch.float32), images(4, 1, 6), "probe")
        assert folded.conv2.weight.stride(1) == 1
    assert sorted(measured) == [False, True]


def test_pgd_on_the_twin_breaks_the_same_images(make_net) -> None:
    net, x = make_net(classes=10, width=8, dtype=torch.float32).eval().requires_grad_(False), images(60, 1, 8)
    net.linear.bias -= net(x).mean(0)
    y, flags = net(x).argmax(1), []
    search = Search(eps=0.01, step=0.0025, steps=20, start="uniform", clip_start=True)
    for attacked in (net, twin(net, x, "contiguous"), twin(net, x, "channels_last")):
        batch = Batch(x, y, torch.arange(60), PerImage(0, torch.arange(60)))
        flags.append(net(pgd(attacked, batch, search, ce_objective)).argmax(1) == y)
    assert torch.equal(flags[0], flags[1])
    assert torch.equal(flags[0], flags[2])
    assert 0 < flags[0].sum() < 60
