"""`from cure import training_step` on a pretended device (tests/support/pretend_cuda.py)."""

import pytest
import torch

from cure import catalogue, training_step
from cure.storage.checkpoint import build
from tests.support.method_harness import shipped
from tests.support.pretend_cuda import pretending

CUDA = torch.device("cuda")
STEPPING = [name for name in catalogue.names("methods") if catalogue.entry("methods", name).METHOD.updates]
EPOCH = 41  # past every warm-up


@pytest.mark.parametrize("name", STEPPING)
def test_steps_after_the_first_of_an_epoch_wait_for_nothing(name: str) -> None:
    entry = catalogue.entry("methods", name)
    with pretending() as device:
        net = build("small", {"width": 4}, 1, 10).to(CUDA)
        teachers = {role: build("small", {"width": 4}, 1, 10) for role in entry.METHOD.teachers}  # still on the host
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        step = training_step(entry, net, optimizer, epochs=50, teachers=teachers, **shipped(name).model_dump())
        assert all(t.is_cuda for network in step.nets.values() for t in (*network.parameters(), *network.buffers()))
        loader = [(torch.rand(8, 1, 8, 8).to(CUDA), torch.randint(10, (8,)).to(CUDA)) for _ in range(3)]
        step.begin_epoch(EPOCH, loader)
        step(*loader[0])  # looks at its images
        with device.seen() as found:
            for x, y in loader[1:]:
                step(x, y)
        assert not found


def test_batches_on_the_host_are_moved() -> None:
    entry = catalogue.entry("methods", "trades")
    with pretending() as device:
        net = build("small", {"width": 4}, 1, 10).to(CUDA)
        step = training_step(entry, net, torch.optim.SGD(net.parameters()), epochs=50, **shipped("trades").model_dump())
        step.begin_epoch(1, loader := [(torch.rand(8, 1, 8, 8), torch.randint(10, (8,)))] * 2)
        with device.seen() as found:
            losses = [step(x, y) for x, y in loader]
        assert all(mean.is_cuda for means in losses for mean in means.values())
        assert not {event for event in found if event.kind != "wait"}
