"""Fused kernels of the folded copy: the same logits and gradients, by fewer operations."""

from collections.abc import Iterator
from contextlib import ExitStack
from unittest.mock import patch

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from cure.core.network import Network
from cure.nn.bfloat16 import BFloat16
from cure.nn.folding.folded_copy import folded_copy
from cure.nn.folding.fused import ConvReLU, fused
from cure.storage.checkpoint import build
from tests.support.cudnn import OPERATIONS
from tests.support.networks import images, stirred

SETTINGS = {"small_resnet": {"width": 8}}
FUSED = {"small_resnet": 8, "resnet18": 16, "resnet50": 48, "preact_resnet18": 8}


@pytest.fixture(autouse=True)
def cudnn(request) -> Iterator[None]:
    on_host = request.node.get_closest_marker("cuda") is None
    with ExitStack() as stack:
        stack.enter_context(patch.object(jaxtyping.config, "jaxtyping_disable", True))  # networks are traced on symbols
        if on_host:
            stack.enter_context(patch.multiple(torch, **OPERATIONS))
        yield


def folded(model: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    net, x = stirred(build(model, SETTINGS.get(model, {}), 3, 10)).to(dtype), images().to(dtype)
    return folded_copy(net, x, "contiguous"), x


def logits_and_gradient(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    z = net(x)
    return z.detach(), torch.autograd.grad(z[:, 0].sum() - z.square().sum(), x)[0]


def convolutions(net: nn.Module) -> int:
    return sum(isinstance(module, ConvReLU) for module in net.modules())


@pytest.mark.parametrize("model", FUSED)
def test_logits_and_gradients_are_those_of_the_folded_copy(model: str) -> None:
    net, x = folded(model)
    made = fused(net, x)
    assert convolutions(made) == FUSED[model]
    assert isinstance(made, Network)
    torch.testing.assert_close(logits_and_gradient(made, x), logits_and_gradient(net, x), rtol=1e-9, atol=1e-9)
    assert set(made.state_dict()) == set(net.state_dict())
    assert convolutions(net) == 0


def test_a_fused_copy_can_be_copied_and_held_in_bfloat16() -> None:
    net, x = folded("small_resnet", torch.float32)
    half = BFloat16(fused(net, x))
    assert convolutions(half) == 8
    torch.testing.assert_close(half(x), net(x), rtol=0, atol=0.05 * float(net(x).abs().max()))


class Skips(nn.Module):
    """Every chain but the first is no convolution, or has a middle that is used twice, or a number in place of z."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(4))
        self.e = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(x + self.a(x))
        twice = self.b(h)
        h = torch.relu(twice) + twice
        h = (self.c(h) + 1).relu()
        h = torch.relu(self.d(h)) + torch.relu(self.d(-h))
        return torch.relu(self.e(h))


def test_only_a_chain_that_nobody_else_uses_is_fused() -> None:
    net, x = nn.Sequential(nn.Sequential(), Skips(3)).eval().requires_grad_(False), images()
    made = fused(net, x)
    assert convolutions(made) == 1
    torch.testing.assert_close(logits_and_gradient(made, x), logits_and_gradient(net, x), rtol=1e-5, atol=1e-5)


class Indexed(nn.Module):
    """Runs the members of a block one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.block[1](self.block[0](x)).mean((2, 3))


def broken(*args: object) -> Tensor:
    raise RuntimeError("no engine")


def wrong(*args: object) -> Tensor:
    return 1 + OPERATIONS["cudnn_convolution_relu"](*args)


@pytest.mark.parametrize("operation", [broken, wrong])
def test_a_kernel_that_fails_or_is_wrong_is_not_used(operation, monkeypatch) -> None:
    net, x = folded("small_resnet")
    monkeypatch.setattr(torch, "cudnn_convolution_relu", operation)
    assert fused(net, x) is net


def test_a_network_that_needs_its_modules_as_they_are_keeps_them() -> None:
    net, x = Indexed().eval().requires_grad_(False), images()
    assert fused(net, x) is net


@pytest.mark.cuda
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_real_kernels_give_the_same_logits_and_gradients_every_time(dtype, memory) -> None:
    net, x = folded("small_resnet", torch.float32)
    net, x = net.to("cuda", dtype, memory_format=memory), x.to("cuda", dtype).contiguous(memory_format=memory)
    made = fused(net, x)
    assert convolutions(made) == 8
    found, wanted = logits_and_gradient(made, x), logits_and_gradient(net, x)
    assert all(map(torch.equal, found, logits_and_gradient(made, x)))
    for ours, theirs in zip(found, wanted, strict=True):
        off = float((ours - theirs).abs().max()) / float(theirs.abs().max())
        assert off < (0.1 if dtype == torch.bfloat16 else 1e-2)
