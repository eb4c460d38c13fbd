"""Every method's training step on a pretended device (tests/support/pretend_cuda.py).

On a real one tests/unit/training/test_step_waiting.py asks the same.
"""

from collections import Counter

import pytest
import torch

from cure import catalogue
from cure.adversarial.cuda_graphs import graphs
from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from cure.data.loader import Loader, Split
from cure.nn.folding import folded_copy
from cure.nn.folding.fused import ConvReLU
from cure.settings.base import Augment
from cure.settings.sections import Schedule
from cure.storage.checkpoint import build
from cure.training.schedule import sgd
from tests.support.method_harness import MethodHarness, same, shipped, state
from tests.support.pretend_cuda import Event, Record, pretending

CUDA = torch.device("cuda")
STEPPING = [name for name in catalogue.names("methods") if catalogue.entry("methods", name).METHOD.updates]
SCHEDULE = Schedule(
    epochs=50, batch=8, lr=0.1, momentum=0.9, nesterov=False, weight_decay=5e-4, drops={}, lr_schedule="drops"
)
EPOCH = 41  # past every warm-up; LAS-AT's strategy learns in it too
BATCHES, SIZE, REST = 4, 8, 5  # batches of the epoch, their size, and that of a last one, which is another graph


def trained(
    name: str, precision: str, wanted: bool, device: Record, model: str = "small"
) -> tuple[dict[str, torch.Tensor], set[Event]]:
    """The networks after an epoch, and what happened in its steps but the first of each size, which set things up."""
    torch.manual_seed(0)
    rig = MethodHarness(catalogue.entry("methods", name).METHOD, shipped(name), build(model, {"width": 4}, 1, 10))
    rig.nets.to(CUDA).to(memory_format=torch.channels_last)
    rig.take.optimizer, rig.take.precision = sgd(rig.nets, SCHEDULE), precision
    draws, n = torch.Generator().manual_seed(1), BATCHES * SIZE + REST
    images = torch.randint(256, (n, 1, 8, 8), generator=draws, dtype=torch.uint8).to(CUDA)
    split = Split(images, torch.randint(10, (n,), generator=draws).to(CUDA))
    noise, happened = Stream(0, CUDA), set[Event]()
    for i, (x, y, index) in enumerate(Loader(split, SIZE, Augment(crop=1, padding="zero", flip=True), 0).epoch(EPOCH)):
        batch = Batch(x, y, index, noise, TrainingPosition(EPOCH, 40 * i, 0.1))
        with device.seen() as found, graphs(wanted):
            rig.take(batch)
        if 0 < i < BATCHES:
            happened |= set(found)
    return state(rig.nets), happened


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", STEPPING)
def test_a_step_mixes_nothing_waits_for_nothing_and_is_the_same_as_a_graph(name: str, precision: str) -> None:
    torch.set_deterministic_debug_mode("error")
    with pretending() as device:
        plain, happened = trained(name, precision, False, device)
        assert not device.replays
        recorded, again = trained(name, precision, True, device)
    assert not happened | again
    assert not {event for event in device.events if event.kind != "wait"}
    assert same(plain, recorded)
    assert bool(device.replays) == (catalogue.entry("methods", name).METHOD.attack is not None)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_attack_runs_fused_kernels_and_finds_what_it_finds_without_them(precision: str, monkeypatch) -> None:
    torch.set_deterministic_debug_mode("error")
    ran = Counter[bool]()  # is something added?
    forward = ConvReLU.forward
    monkeypatch.setattr(ConvReLU, "forward", lambda self, x, z=None: ran.update([z is not None]) or forward(self, x, z))
    with pretending() as device:
        found, happened = trained("at", precision, False, device, "small_resnet")
        assert ran[True] == ran[False] > 0
        recorded, again = trained("at", precision, True, device, "small_resnet")
        monkeypatch.setattr(folded_copy, "fused", lambda net, x: net)
        plain, _ = trained("at", precision, False, device, "small_resnet")
    assert not happened | again
    assert device.replays
    assert same(found, recorded)
    assert same(found, plain)  # on the host the definition of a fused kernel rounds as its parts do
