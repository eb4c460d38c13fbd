"""What the driver and the twin save, each group against the code that people run today, in one process on one core.

`pytest tests/benchmarks --benchmark-only` prints the times of each group with their ratios. The layout is probed
beforehand, once, as an evaluation does.
"""

import time
from collections.abc import Iterator

import jaxtyping
import pyautoattack
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cure import catalogue
from cure.core.folding import twin
from cure.core.network import conv, pool
from cure.core.resnet import BasicBlock
from cure.engine.driver import Driver
from cure.engine.units import Examples

EPS = 8 / 255


@pytest.fixture(autouse=True)
def untyped() -> Iterator[None]:
    """Without the tests' checks of shapes, which cost time and cannot be traced."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class SmallResNet(nn.Module):
    """ResNet of three blocks for 32x32 images, 16 to 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(pool(self.blocks(F.relu(self.bn1(self.conv1(x))))))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Random weights, every class alike on average; the images at the largest margin have a chance to survive."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = SmallResNet()
    with torch.no_grad():
        net(torch.rand(64, 3, 32, 32))
        net.eval().linear.bias -= net(torch.rand(64, 3, 32, 32)).mean(0)
    return net


def examples(net: nn.Module, n: int) -> Examples:
    x = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return Examples(x, net(x).argmax(1), torch.arange(n))


def trades_loop(net: nn.Module, data: Examples) -> Tensor:
    """PGD-20 as the released evaluation scripts write it: weights with gradients, a new optimiser in every step."""
    x_adv = data.x + torch.empty_like(data.x).uniform_(-EPS, EPS)
    for _ in range(20):
        x_adv = x_adv.detach().requires_grad_()
        torch.optim.SGD([x_adv], lr=1e-3).zero_grad()
        nn.CrossEntropyLoss()(net(x_adv), data.y).backward()
        moved = x_adv.detach() + EPS / 4 * x_adv.grad.sign()
        x_adv = torch.min(torch.max(moved, data.x - EPS), data.x + EPS).clamp(0, 1)
    return net(x_adv).argmax(1) == data.y


def our_pgd(net: nn.Module, data: Examples) -> Tensor:
    entry = catalogue.entry("attacks", "pgd")
    chain = entry.chain(entry.Hyper(eps=EPS, step=EPS / 4, steps=20, start="uniform", clip_start=True), 10, 0)
    return Driver(net, data, batch=64, seed=0, twin=twin(net, data.x, "probe")).run(chain).robust


@pytest.mark.benchmark(group="PGD-20, at most 0.60", timer=time.process_time)
@pytest.mark.parametrize("code", [trades_loop, our_pgd])
def test_pgd20(benchmark, net, code) -> None:
    data = examples(net, 64)
    code(net, data)  # the probe, and whatever else happens once
    assert benchmark.pedantic(code, (net, data), rounds=5).shape == (64,)


def package(net: nn.Module, data: Examples, eps: float) -> Tensor:
    x_adv, _ = pyautoattack.AutoAttack(net, eps=eps, seed=0).run_standard_evaluation(data.x, data.y, batch_size=16)
    return net(x_adv).argmax(1) == data.y


def ours(net: nn.Module, data: Examples, eps: float) -> Tensor:
    entry = catalogue.entry("attacks", "autoattack")
    how = {"version": "standard", "iterations": 100, "queries": 5000, "targets": 9}
    driver = Driver(net, data, batch=16, seed=0, twin=twin(net, data.x, "probe"))
    return driver.run(entry.chain(entry.Hyper(eps=eps, **how), 10, 0)).robust


FLAGS: dict[str, Tensor] = {}


@pytest.mark.benchmark(group="AutoAttack, at most 0.75", timer=time.process_time)
@pytest.mark.parametrize("code", [package, ours])
def test_autoattack(benchmark, net, code) -> None:
    data, eps = examples(net, 16), 0.1 / 255
    twin(net, data.x, "probe")
    FLAGS[code.__name__] = benchmark.pedantic(code, (net, data, eps), rounds=1)
    assert 4 <= FLAGS[code.__name__].sum() < 16
    assert all(torch.equal(flags, FLAGS["package"]) for flags in FLAGS.values())
