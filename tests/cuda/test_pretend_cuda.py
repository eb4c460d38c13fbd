"""The pretended device sees every planted fault, and lets lawful things pass."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.support.pretend_cuda import pretending

GPU = torch.device("cuda")


def here(*shape: int) -> torch.Tensor:
    return torch.rand(*shape)


def there(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, device=GPU)


def captured(act: Callable[[torch.Tensor], object]) -> None:
    x = there(4, 3)
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        act(x)


def masked() -> torch.Tensor:
    x = there(9)
    return x[x > 0.5]


def filled_where_masked() -> None:
    x = there(9)
    x[x > 0.5] = 0.0


def host_values_by_index() -> None:
    there(9)[torch.arange(2, device=GPU)] = here(2)


FAULTS = [
    ("sum of both", lambda: here(3) + there(3), "mixed"),
    ("cat of both", lambda: torch.cat([here(3), there(3)]), "mixed"),
    ("host tensor, index on the device", lambda: here(3)[torch.arange(2, device=GPU)], "mixed"),
    ("host values by index", host_values_by_index, "mixed"),
    ("host generator", lambda: there(3).uniform_(generator=torch.Generator()), "mixed"),
    ("device generator for the host", lambda: here(3).uniform_(generator=torch.Generator(GPU)), "mixed"),
    ("numpy of the device", lambda: there(3).numpy(), "mixed"),
    ("network on the host", lambda: nn.Linear(3, 2)(there(4, 3)), "mixed"),
    ("item", lambda: float(there(3).sum()), "wait"),
    ("bool", lambda: bool((there(3) > 0).all()), "wait"),
    ("each of the labels", lambda: [int(i) for i in there(3)], "wait"),
    ("tolist", lambda: there(3).tolist(), "wait"),
    ("mask", masked, "wait"),
    ("nonzero", lambda: there(3).nonzero(), "wait"),
    ("to the device", lambda: here(3).to(GPU), "wait"),
    ("to the host", lambda: there(3).cpu(), "wait"),
    ("copy_ across", lambda: there(3).copy_(here(3)), "wait"),
    ("index on the host", lambda: there(3)[torch.arange(2)], "wait"),
    ("from Python", lambda: torch.tensor([1.0], device=GPU), "wait"),
    ("synchronize", lambda: torch.cuda.synchronize(), "wait"),
    ("kthvalue", lambda: there(3).kthvalue(1), "unstable"),
    ("item while captured", lambda: captured(lambda x: float(x.sum())), "captured"),
    ("random while captured", lambda: captured(lambda x: x.uniform_()), "captured"),
    ("copy while captured", lambda: captured(lambda x: x.copy_(here(4, 3))), "captured"),
]
LAWFUL = [
    ("scalar of the host", lambda: there(3) * torch.tensor(2.0)),
    ("device generator", lambda: there(3).uniform_(generator=torch.Generator(GPU))),
    ("filled on the device", lambda: there(3).new_full((), 2.0)),
    ("fill where masked", filled_where_masked),
    ("a copy that nobody waits for", lambda: there(3).to("cpu", non_blocking=True)),
    ("like", lambda: torch.zeros_like(there(3)) + there(3)),
    ("deepcopy", lambda: copy.deepcopy(there(3)) + there(3)),
    ("backward", lambda: F.cross_entropy(nn.Linear(3, 2).to(GPU)(there(4, 3)), there(4).long()).backward()),
]


@pytest.mark.parametrize(("act", "kind"), [pytest.param(act, kind, id=name) for name, act, kind in FAULTS])
def test_a_planted_fault_is_seen_on_its_line(act: Callable[[], object], kind: str) -> None:
    with pretending() as device:
        act()
    found = {event.kind: event.line for event in device.events}
    assert found[kind].startswith("tests/cuda/test_pretend_cuda.py:")


@pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in LAWFUL])
def test_what_is_lawful_passes(act: Callable[[], object]) -> None:
    with pretending() as device:
        act()
    assert not {event for event in device.events if event.what != "copy to the device"}


def test_devices_are_answered() -> None:
    with pretending():
        assert (there(2).device, there(2).is_cuda, there(2).is_cpu) == (torch.device("cuda", 0), True, False)
        assert (here(2).device, here(2).is_cuda) == (torch.device("cpu"), False)
        assert (there(2)[:1] * 2).is_cuda
        assert not there(2).cpu().is_cuda
    assert not torch.cuda.is_available() or torch.cuda.get_device_name() != "pretended"


def test_a_graph_follows_what_changes_in_place_and_nothing_else() -> None:
    with pretending() as device, torch.no_grad():
        net, x, graph = nn.Linear(3, 2).to(GPU), there(4, 3), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = net(x).relu()
        net.weight.mul_(-2)
        graph.replay()
        assert torch.equal(y, net(x).relu())
        net.weight = nn.Parameter(net.weight * 2)
        graph.replay()
        assert not torch.equal(y, net(x).relu())
    assert (device.captures, device.replays) == (1, 2)


def test_the_events_of_a_block_are_its_own() -> None:
    with pretending() as device:
        float(there(1))
        with device.seen() as found:
            there(1).nonzero()
        float(there(1))
    assert [event.what for event in found] == ["nonzero"]
    assert sum(device.events.values()) == 3
