"""A network in bfloat16: what it holds, what it gives, and that it leaves its network alone."""

import pytest
import torch
from torch import nn

from cure.nn.bfloat16 import BFloat16
from cure.nn.folding.folded_copy import folded_copy
from cure.storage.checkpoint import build
from tests.support.method_harness import same, state


@pytest.fixture
def ours() -> nn.Module:
    return build("small", {"width": 8, "normalise": {"mean": [0.3], "std": [0.4]}}, 1, 10).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(5, 1, 8, 8)


@pytest.fixture
def strangers() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


@pytest.mark.parametrize("which", ["ours", "folded", "strangers"])
def test_logits_are_near_those_of_the_network_and_images_get_gradients(which: str, request, x: torch.Tensor) -> None:
    net = request.getfixturevalue("strangers" if which == "strangers" else "ours")
    before, x = state(net), x.requires_grad_()
    half = BFloat16(folded_copy(net, x.detach(), "contiguous") if which == "folded" else net)
    z = half(x)
    assert z.dtype == torch.float32
    assert 0 < float((z - net(x)).abs().max()) < 0.05
    (g,) = torch.autograd.grad(z.sum(), x)
    assert (g.dtype, g.shape) == (torch.float32, x.shape)
    assert g.abs().max() > 0
    assert same(state(net), before)


def test_weights_of_ours_are_held_in_bfloat16_and_want_no_gradient(ours: nn.Module) -> None:
    half = BFloat16(ours)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in half.parameters())
    assert all(weight.dtype == torch.float32 and weight.requires_grad for weight in ours.parameters())


def test_as_a_text_it_is_another_network(ours: nn.Module, strangers: nn.Module) -> None:
    for net in (ours, strangers):
        assert "bfloat16" in str(BFloat16(net))
