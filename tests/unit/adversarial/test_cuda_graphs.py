"""Which ascents become graphs, when, and that a graph is what it was recorded from; on a pretended device."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from cure.adversarial import cuda_graphs
from cure.adversarial import pgd as pgd_module
from cure.adversarial.cuda_graphs import Fixed, ascended, graphs
from cure.adversarial.pgd import ce_objective, kl_objective, misclassified, pgd
from cure.core.method import Batch
from cure.core.noise import Stream
from cure.settings.base import Search
from cure.storage.checkpoint import build
from tests.support.pretend_cuda import Record, pretending

CUDA = torch.device("cuda")
SEARCH = Search(eps=0.1, step=0.03, steps=3, start="uniform", clip_start=True)


@dataclasses.dataclass(frozen=True)
class Lead(Fixed):
    """CE with a factor, beside a tensor that the batch is given."""

    factor: float

    def __call__(self, net: nn.Module, batch: Batch) -> Callable[[torch.Tensor], torch.Tensor]:
        lead = batch.points["lead"]
        return lambda z: self.factor * nn.functional.cross_entropy(z + lead, batch.y, reduction="none")


@pytest.fixture
def device() -> Iterator[Record]:
    with pretending() as record:
        yield record


@pytest.fixture
def net() -> nn.Module:
    return build("small", {"width": 4}, 1, 10)


def batch(n: int = 6, seed: int = 0) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    x, y = torch.rand(n, 1, 8, 8, generator=draws), torch.randint(10, (n,), generator=draws)
    return Batch(x.to(CUDA), y.to(CUDA), torch.arange(n), Stream(seed, CUDA))


EACH = {
    "eps": torch.full((6,), 0.1),
    "step": torch.full((6,), 0.02),
    "steps": torch.tensor([1, 2, 3, 0, 2, 1]),
    "most": 3,
}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ce": (ce_objective, {}),
    "kl": (kl_objective, {}),
    "a stop rule": (ce_objective, {"stop": misclassified}),
    "jitter": (ce_objective, {"jitter": 0.01}),
    "numbers of each image": (ce_objective, {"each": EACH}),
    "a radius of each pixel": (ce_objective, {"each": {"eps": torch.rand(6, 1, 8, 8) / 10}}),
    "a value with a tensor": (Lead(2.0), {"given": {"lead": torch.rand(6, 10)}}),
}


def on_device(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: on_device(inner) for name, inner in value.items()}
    return value.to(CUDA) if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("bn", ["eval", "train", "batch"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_third_call_is_a_graph_and_finds_what_the_loop_finds(
    net: nn.Module, device: Record, kind: str, bn: str
) -> None:
    objective, how = KINDS[kind]
    search, net = SEARCH.model_copy(update={"bn": bn}), net.to(CUDA)
    other, found = copy.deepcopy(net), list[tuple[torch.Tensor, torch.Tensor]]()
    for seed in range(4):
        with graphs(True):
            mine = pgd(net, batch(seed=seed), search, objective, **on_device(how))
        found.append((mine, pgd(other, batch(seed=seed), search, objective, **on_device(how))))
        for each in (net, other):
            torch.manual_seed(seed)
            with torch.no_grad():
                for weight in each.parameters():
                    weight.add_(0.1 * torch.randn(weight.shape).to(CUDA))
    assert (device.captures, device.replays) == (1, 3)
    assert not {event for event in device.events if event.kind != "wait"}
    assert all(torch.equal(mine, theirs) for mine, theirs in found)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def recorded(net: nn.Module, device: Record, *calls: Callable[[], object]) -> int:
    """How many graphs these calls make, each of them thrice."""
    before = device.captures
    with graphs(True):
        for call in calls:
            for _ in range(3):
                call()
    return device.captures - before


def test_another_shape_number_or_objective_is_another_graph(net: nn.Module, device: Record) -> None:
    net.to(CUDA)
    more = SEARCH.model_copy(update={"steps": 4})
    lead = {"lead": torch.rand(6, 10, device=CUDA)}
    calls = [
        lambda: pgd(net, batch(), SEARCH, ce_objective),
        lambda: pgd(net, batch(5), SEARCH, ce_objective),
        lambda: pgd(net, batch(), more, ce_objective),
        lambda: pgd(net, batch(), SEARCH, kl_objective),
        lambda: pgd(net, batch(), SEARCH, ce_objective, stop=misclassified),
        lambda: pgd(net, batch(), SEARCH, Lead(1.0), given=lead),
        lambda: pgd(net, batch(), SEARCH, Lead(2.0), given=lead),
    ]
    assert recorded(net, device, *calls) == len(calls)
    assert recorded(net, device, *calls) == 0


def test_another_mode_or_other_weights_are_another_graph(net: nn.Module, device: Record) -> None:
    net.to(CUDA)
    search = SEARCH.model_copy(update={"bn": "train"})

    def attack() -> None:
        pgd(net, batch(), search, ce_objective)

    def in_reduced_precision() -> None:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            attack()

    assert recorded(net, device, attack, in_reduced_precision) == 2
    net.linear.weight = nn.Parameter(net.linear.weight.clone())
    assert recorded(net, device, attack) == 1


@pytest.mark.parametrize(
    "why", ["not wanted", "a closure", "hooks", "a stranger's network", "an image on the host", "other processes"]
)
def test_these_are_never_recorded(net: nn.Module, device: Record, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    net.to(CUDA)
    attacked: nn.Module = net
    objective = ce_objective if why != "a closure" else lambda net, batch: ce_objective(net, batch)
    if why == "hooks":
        net.register_forward_hook(lambda *call: None)
    if why == "a stranger's network":
        attacked = nn.Sequential(net)
    if why == "other processes":
        monkeypatch.setattr(cuda_graphs.distributed, "count", lambda: 2)
    if why == "an image on the host":
        attacked = net = copy.deepcopy(net).cpu()
    search = SEARCH.model_copy(update={"bn": "train"})
    there = (
        batch()
        if why != "an image on the host"
        else dataclasses.replace(
            batch(), x=torch.rand(6, 1, 8, 8), y=torch.zeros(6).long(), noise=Stream(0, torch.device("cpu"))
        )
    )
    with graphs(why != "not wanted"):
        for _ in range(3):
            pgd(attacked, there, search, objective)
    assert device.captures == 0


def test_of_no_kind_there_is_no_graph(net: nn.Module, device: Record) -> None:
    net.to(CUDA)
    with graphs(True):
        for _ in range(3):
            ascended(net, None, {"x": batch().x}, lambda t: t["x"] + 1)
    assert device.captures == 0


def test_equal_settings_are_one_kind(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    monkeypatch.setattr(pgd_module, "ascended", lambda net, kind, inputs, ascent: kinds.append(kind) or inputs["x"])
    there = Batch(torch.rand(2, 1, 8, 8), torch.zeros(2).long(), torch.arange(2), Stream(0, torch.device("cpu")))
    for factor in (1.0, 1.0, 2.0):
        pgd(net, there, SEARCH.model_copy(), Lead(factor), stop=misclassified)
    assert kinds[0] == kinds[1] != kinds[2]
