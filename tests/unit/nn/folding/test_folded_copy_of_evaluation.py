"""The folded copy that an evaluation attacks: the same function, where that is proven; else the network itself."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from cure import catalogue
from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.nn.batchnorm import split
from cure.nn.folding.folded_copy import current_folded_copy, folded_copy
from cure.nn.memory_format import FORMATS
from cure.settings.base import Search
from cure.storage.checkpoint import build
from tests.support.networks import Twice, images, stirred

SETTINGS = {"small": {"width": 8}, "small_resnet": {"width": 4}}


@pytest.fixture
def untyped() -> Iterator[None]:
    """Tracing runs a network on symbols, which the tests' checks of shapes would take for a mistake."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def norms(net: nn.Module, x: Tensor) -> int:
    """Batch norms that a forward of the copy still runs."""
    ran: list[nn.Module] = []
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda module, *call: ran.append(module))
    with torch.no_grad():
        net(x)
    return len(ran)


@pytest.mark.parametrize("model", [name for name in catalogue.names("models") if name != "wrn_34_10"])
def test_the_copy_of_every_model_gives_its_logits_in_both_layouts(model) -> None:
    net, x = stirred(build(model, SETTINGS.get(model, {}), 3, 10)), images()
    with torch.no_grad():
        wanted = net(x)
    for layout, memory in FORMATS.items():
        folded = folded_copy(net, x, layout)
        assert folded is not net
        weights = [weight for weight in folded.parameters() if weight.dim() == 4]
        assert all(weight.is_contiguous(memory_format=memory) for weight in weights)
        with torch.no_grad():
            torch.testing.assert_close(folded(x), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(("model", "left"), [("small", 0), ("resnet18", 0), ("preact_resnet18", 9)])
def test_every_batch_norm_behind_a_convolution_is_gone(model, left) -> None:
    net, x = stirred(build(model, SETTINGS.get(model, {}), 3, 10)), images()
    assert norms(folded_copy(net, x, "contiguous"), x) == left


def test_the_network_itself_stays_as_it_was(make_net) -> None:
    net = make_net(dtype=torch.float32)  # in training mode, unfrozen
    before = {key: value.clone() for key, value in net.state_dict().items()}
    folded = folded_copy(net, images(4, 1, 6), "channels_last")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training
    assert all(weight.requires_grad for weight in net.parameters())
    assert net.conv1.weight.is_contiguous()
    assert not any(weight.requires_grad for weight in folded.parameters())
    assert not folded.training


def test_a_normalising_first_layer_is_part_of_the_copy() -> None:
    how = {"width": 8, "normalise": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}}
    net, x = stirred(build("small", how, 3, 10)), images()
    folded = folded_copy(net, x, "contiguous")
    assert folded is not net
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("untyped")
def test_split_batch_norm_folds_the_active_branch(make_net) -> None:
    net, x = make_net(dtype=torch.float32).eval(), images(4, 1, 6)
    split(net, ("clean", "adv"))
    net.bn1["adv"].running_mean += 1
    folded = folded_copy(net, x, "contiguous")
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
def test_a_network_whose_structure_is_not_known_is_attacked_itself(kind) -> None:
    net = kind()
    assert folded_copy(net, images(4, 1, 6), "channels_last") is net


def test_a_convolution_that_others_use_too_keeps_its_batch_norm() -> None:
    net, x = stirred(Twice()), images(4, 1, 6)
    folded = folded_copy(net, x, "contiguous")
    with torch.no_grad():
        assert torch.equal(folded(x), net(x))
    assert norms(folded, x) == 1


class Plain(nn.Module):
    """A foreign network of two convolutions and their batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return (self.bn1(self.conv1(x)) + self.bn2(self.conv2(x))).flatten(1)


class Reshaping(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).view(x.size(0), 4, -1).flatten(1)  # of no image, -1 could be anything


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


class NotAll(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.conv2 = Standardised(1, 4, 3)


class Parametrised(Plain):
    def __init__(self) -> None:
        super().__init__()
        weight_norm(self.conv2)


class Tied(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.conv2.weight = self.conv1.weight


@pytest.mark.parametrize(("make", "left"), [(Plain, 0), (Reshaping, 0), (Tied, 0), (NotAll, 1), (Parametrised, 1)])
def test_of_a_foreign_network_what_is_a_plain_pair_is_folded(make, left) -> None:
    net, x = stirred(make()), images(4, 1, 6)
    folded = folded_copy(net, x, "contiguous")
    assert folded is not net
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)
    assert norms(folded, x) == left


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"])
def test_a_network_with_hooks_is_attacked_itself(kind) -> None:
    net, x = stirred(Plain()), images(4, 1, 6)
    getattr(net.bn1, f"register_{kind}")(lambda *call: None)
    assert folded_copy(net, x, "contiguous") is net


def test_biases_are_computed_in_the_orders_on_which_results_depend() -> None:
    net, x = stirred(Plain()), images(4, 1, 6)
    conv, bn = net.conv1, net.bn1
    with torch.no_grad():
        scale = torch.rsqrt(bn.running_var + bn.eps)
        evaluated = (conv.bias - bn.running_mean) * scale * bn.weight + bn.bias
        trained = torch.addcmul(bn.bias, bn.running_mean - conv.bias, scale * bn.weight, value=-1)
    assert torch.equal(folded_copy(net, x, "contiguous").conv1.bias, evaluated)
    assert torch.equal(current_folded_copy(net, x).conv1.bias, trained)


def test_pgd_on_the_copy_breaks_the_same_images(make_net) -> None:
    net, x = make_net(classes=10, width=8, dtype=torch.float32).eval().requires_grad_(False), images(60, 1, 8)
    net.linear.bias -= net(x).mean(0)
    y, flags = net(x).argmax(1), []
    search = Search(eps=0.01, step=0.0025, steps=20, start="uniform", clip_start=True)
    for attacked in (net, folded_copy(net, x, "contiguous"), folded_copy(net, x, "channels_last")):
        batch = Batch(x, y, torch.arange(60), PerImage(0, torch.arange(60)))
        flags.append(net(pgd(attacked, batch, search, ce_objective)).argmax(1) == y)
    assert torch.equal(flags[0], flags[1])
    assert torch.equal(flags[0], flags[2])
    assert 0 < flags[0].sum() < 60
