"""What every test shares: one thread, fixed seeds, a tiny network, a tiny batch, and a counter of passes."""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from tools.reliability import Ledger

settings.register_profile(  # the same examples on every machine, however slow it is
    "cure", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("cure")


HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-dir", help="golden vectors to compare with, instead of those in tests/golden")
    parser.addoption("--reliability", metavar="PAGE", help="count the marked tests and write docs/reliability.md here")


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with Ctrl-C ignored
    torch.set_num_threads(1)  # fixtures of a module come before `seeded`, and more threads than cores only wait
    if path := config.getoption("--reliability"):
        config.pluginmanager.register(Ledger(Path(path)))


FIRST = ("pipeline", "methods")  # folders whose files take longest
LONG = (  # files that take more than some seconds: all tests of cure/ and of rules on the tree that are not quick
    "unit/adversarial/test_autoattack_classes.py",
    "unit/evaluation/",
    "unit/figures/",
    "unit/nn/test_folded_copy",
    "unit/runtime/test_distributed.py",
    "unit/training/test_layerwise.py",
    "policy/test_commands.py",
    "policy/test_front_page.py",
    "policy/test_own_loop_page.py",
    "policy/test_site.py",
    "policy/test_startup.py",
    "policy/test_wheel.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {item: item.path.relative_to(HERE).as_posix() for item in items if item.path.is_relative_to(HERE)}
    for item, place in places.items():
        if place.startswith(("unit/", "policy/")) and not place.startswith(LONG):
            item.add_marker(pytest.mark.quick)
    ranks = {folder: rank for rank, folder in enumerate(FIRST)}
    items.sort(key=lambda item: ranks.get(places.get(item, "").partition("/")[0], len(FIRST)))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Of `pytest -n auto`: one for each core that this process may use, within what memory holds."""
    return min(8, len(os.sched_getaffinity(0)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file stays on one worker, since its tests share what is expensive; those that take longest begin."""
    from tests.support.whole_files import WholeFiles

    return WholeFiles(config, log)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    mode = torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    yield
    torch.set_deterministic_debug_mode(mode)  # stages switch it on for their process, which here is everybody's
    torch.utils.deterministic.fill_uninitialized_memory = True


class Tiny(nn.Module):
    """Two convolutions with batch norm and a classifier; its names are those that the shipped patterns know."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return self.linear(h.mean(dim=(2, 3)))


@pytest.fixture
def make_net() -> Callable[..., nn.Module]:
    """A seeded tiny network whose batch norms have seen something, so that eval and train modes differ."""

    def make(
        seed: int = 0, *, channels: int = 1, classes: int = 3, width: int = 4, dtype: torch.dtype = torch.float64
    ) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = Tiny(channels, classes, width).to(dtype)
            with torch.no_grad():
                net(torch.rand(16, channels, 6, 6, dtype=dtype))
                for norm in (net.bn1, net.bn2):
                    norm.weight.uniform_(0.5, 1.5)
                    norm.bias.uniform_(-0.5, 0.5)
        return net.train()

    return make


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Seeded random images, black and white pixels among them, with labels and a noise stream."""

    def make(
        n: int = 6,
        seed: int = 0,
        *,
        channels: int = 1,
        classes: int = 3,
        size: int = 6,
        dtype: torch.dtype = torch.float64,
        epoch: int = 1,
        step: int = 0,
    ) -> Batch:
        draws = torch.Generator().manual_seed(seed)
        x = (torch.rand(n, channels, size, size, dtype=dtype, generator=draws) * 1.4 - 0.2).clamp(0, 1)
        y = torch.randint(classes, (n,), generator=draws)
        return Batch(x, y, torch.arange(n), Stream(seed, torch.device("cpu")), TrainingPosition(epoch, step))

    return make


@pytest.fixture
def net(make_net: Callable[..., nn.Module]) -> nn.Module:
    return make_net()


@pytest.fixture
def batch(make_batch: Callable[..., Batch]) -> Batch:
    return make_batch()


class Passes:
    """Forwards of watched networks, as (name, mode, graph kept?), and backward passes by what they are taken to."""

    def __init__(self) -> None:
        self.forwards: Counter[tuple[str, str, bool]] = Counter()
        self.backwards: Counter[str] = Counter()

    def watch(self, **nets: nn.Module) -> None:
        for name, net in nets.items():
            net.register_forward_pre_hook(self._forward(name))

    def _forward(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def count(module: nn.Module, _: tuple[Tensor, ...]) -> None:
            self.forwards[name, "train" if module.training else "eval", torch.is_grad_enabled()] += 1

        return count

    def backward(self, inputs: Tensor | list[Tensor]) -> None:
        each = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        self.backwards["weights" if any(isinstance(i, nn.Parameter) for i in each) else "images"] += 1


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    counter, grad, backward = Passes(), torch.autograd.grad, Tensor.backward

    def counted_grad(outputs, inputs, *args, **kwargs):
        counter.backward(inputs)
        return grad(outputs, inputs, *args, **kwargs)

    def counted_backward(self, *args, **kwargs):
        counter.backwards["weights"] += 1
        return backward(self, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted_grad)
    monkeypatch.setattr(Tensor, "backward", counted_backward)
    return counter
