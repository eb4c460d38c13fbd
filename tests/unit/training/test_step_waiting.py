"""A step on a GPU never waits for the host, and takes deterministic kernels alone."""

from collections.abc import Iterator

import pytest
import torch

from cure import catalogue
from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from cure.data.loader import Loader, Split
from cure.settings.base import Augment
from cure.settings.sections import Schedule
from cure.storage.checkpoint import build
from cure.training.schedule import sgd
from tests.support.method_harness import MethodHarness, shipped, state

pytestmark = pytest.mark.cuda
STEPPING = [name for name in catalogue.names("methods") if catalogue.entry("methods", name).METHOD.updates]
SCHEDULE = Schedule(
    epochs=50, batch=8, lr=0.1, momentum=0.9, nesterov=False, weight_decay=5e-4, drops={}, lr_schedule="drops"
)


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def rig_of(name: str) -> MethodHarness:
    torch.manual_seed(0)
    student = build("small", {"width": 4}, 1, 10)
    rig = MethodHarness(catalogue.entry("methods", name).METHOD, shipped(name), student)
    rig.nets.cuda().to(memory_format=torch.channels_last)
    rig.take.optimizer = sgd(rig.nets, SCHEDULE)
    return rig


def steps(rig: MethodHarness, precision: str, count: int) -> None:
    """Of an epoch in which LAS-AT's strategy learns too."""
    device = torch.device("cuda")
    draws = torch.Generator().manual_seed(1)
    images = torch.randint(256, (8 * count, 1, 8, 8), generator=draws, dtype=torch.uint8)
    split = Split(images.to(device), torch.randint(10, (8 * count,), generator=draws).to(device))
    loader = Loader(split, 8, Augment(crop=1, padding="zero", flip=True), 0)
    noise, sums = Stream(0, device), []
    rig.take.precision = precision
    for i, (x, y, index) in enumerate(loader.epoch(41)):
        torch.cuda.set_sync_debug_mode("error" if i else "default")  # the first step sets libraries up
        batch = Batch(x, y, index, noise, TrainingPosition(41, 40 * i, 0.1))
        sums.append(rig.take(batch))
    torch.cuda.set_sync_debug_mode("default")
    assert all(mean.isfinite() for means in sums for mean in means.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", STEPPING)
def test_no_step_of_a_method_waits_for_the_device(name: str, precision: str) -> None:
    steps(rig_of(name), precision, 3)


@pytest.mark.parametrize("name", STEPPING)
def test_two_runs_have_the_same_bits(name: str) -> None:
    found = []
    for _ in range(2):
        rig = rig_of(name)
        steps(rig, "fp32", 3)
        found.append(state(rig.nets))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
