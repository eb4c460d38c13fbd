import copy

import pytest
import torch
from torch import nn

from cure.core.method import Companion, Networks
from cure.settings.sections import Schedule
from cure.training.schedule import rate, rate_and_momentum, set_rate, sgd

CYCLE = {"rise": 0.25, "first": 0.04, "last": 4e-6, "low_momentum": 0.85, "high_momentum": 0.95}


def schedule(**changes) -> Schedule:
    usual = {"epochs": 200, "batch": 128, "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}
    return Schedule(**(usual | {"drops": {}, "lr_schedule": "drops"} | changes))


@pytest.mark.parametrize(
    ("drops", "rates"),
    [
        ({}, {1: 0.1, 200: 0.1}),
        ({75: 0.1}, {1: 0.1, 74: 0.1, 75: 0.01, 76: 0.01}),  # TRADES: its last two epochs
        ({101: 0.1, 151: 0.01}, {1: 0.1, 100: 0.1, 101: 0.01, 150: 0.01, 151: 0.001, 200: 0.001}),  # Rice et al.
        ({60: 0.1, 90: 0.01, 110: 0.005}, {59: 0.1, 60: 0.01, 89: 0.01, 90: 0.001, 109: 0.001, 110: 0.0005}),  # FAT
        ({1: 0.5, 2: 2.0}, {1: 0.05, 2: 0.2, 3: 0.2}),
    ],
)
def test_rates_at_every_boundary(drops: dict[int, float], rates: dict[int, float]) -> None:
    found = {epoch: rate(schedule(drops=drops), epoch) for epoch in rates}
    assert found == pytest.approx(rates)


def test_a_line_begins_at_the_whole_rate_and_goes_from_drop_to_drop() -> None:
    line = schedule(lr_schedule="linear", drops={40: 1, 80: 0.1, 120: 0.01})  # Generalist
    found = {epoch: rate(line, epoch) for epoch in (1, 40, 60, 80, 100, 120, 200)}
    assert found == pytest.approx({1: 0.1, 40: 0.1, 60: 0.055, 80: 0.01, 100: 0.0055, 120: 0.001, 200: 0.001})
    early = schedule(lr_schedule="linear", drops={4: 0.5})
    assert [rate(early, epoch) for epoch in (1, 2, 4, 5)] == pytest.approx([0.0875, 0.075, 0.05, 0.05])


def test_a_cosine_falls_from_nearly_the_whole_rate_to_nearly_zero() -> None:
    half = schedule(lr_schedule="cosine", epochs=3)  # IKL-AT
    assert [rate(half, epoch) for epoch in (1, 2, 3)] == pytest.approx(
        [0.1 * (2 + 2**0.5) / 4, 0.05, 0.1 * (2 - 2**0.5) / 4]
    )


@pytest.mark.parametrize(("epochs", "steps"), [(4, 10), (50, 3), (1, 8), (3, 1), (1, 2)])
def test_one_cycle_is_pytorchs(epochs: int, steps: int) -> None:
    cycle = schedule(lr_schedule=CYCLE, epochs=epochs, lr=0.21)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.21, pct_start=0.25, steps_per_epoch=steps, epochs=epochs
    )
    for at in range(epochs * steps):
        epoch, step = 1 + at // steps, at % steps
        (group,) = optimizer.param_groups
        found = rate_and_momentum(cycle, epoch, step, steps)
        assert rate(cycle, epoch, step, steps) == found[0]
        assert found == pytest.approx((group["lr"], group["momentum"]))
        if at + 1 < epochs * steps:
            optimizer.step()
            theirs.step()


def test_what_has_no_cycle_keeps_its_momentum() -> None:
    assert rate_and_momentum(schedule(momentum=0.8), 3, 2, 10) == (rate(schedule(momentum=0.8), 3), 0.8)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(("kind", "named"), [("cosine", "cosine"), (CYCLE, "one cycle")])
def test_drops_without_effect_are_refused(kind, named: str) -> None:
    with pytest.raises(ValueError, match=f"lr_schedule is {named}, which has no drops; set drops to {{}}"):
        schedule(lr_schedule=kind, drops={3: 0.1})


def test_the_order_in_which_drops_are_written_is_void() -> None:
    forwards, backwards = schedule(drops={101: 0.1, 151: 0.01}), schedule(drops={151: 0.01, 101: 0.1})
    assert [rate(forwards, e) for e in range(1, 201)] == [rate(backwards, e) for e in range(1, 201)]


def test_epochs_written_as_text_are_numbers() -> None:
    assert schedule(drops={"75": "1/10"}).drops == {75: 0.1}


@pytest.mark.parametrize("drops", [{0: 0.1}, {-3: 0.1}, {5: 0.0}, {5: -1.0}, {"soon": 0.1}])
def test_drops_at_no_epoch_or_to_no_rate_are_refused(drops: dict) -> None:
    with pytest.raises(ValueError, match="drops"):
        schedule(drops=drops)


@pytest.fixture
def nets(make_net) -> Networks:
    companions = {
        "second": Companion(copy.deepcopy, trained=True),
        "past": Companion(copy.deepcopy),
    }
    return Networks(make_net(), companions, {"robust": make_net(1)})


def test_the_optimiser_holds_the_trained_weights_and_no_others(nets: Networks) -> None:
    (group,) = sgd(nets, schedule()).param_groups
    expected = [*nets.student.parameters(), *nets.second.parameters()]
    assert [id(w) for w in group["params"]] == [id(w) for w in expected]


def test_a_network_with_a_weight_decay_of_its_own_has_a_group_of_its_own(make_net) -> None:
    companions = {
        "second": Companion(copy.deepcopy, trained=True),
        "third": Companion(copy.deepcopy, True, "train", 0.0),
    }
    nets = Networks(make_net(), companions, {})
    shared, own = sgd(nets, schedule()).param_groups
    assert [id(w) for w in own["params"]] == [id(w) for w in nets.third.parameters()]
    assert len(shared["params"]) == 2 * len(own["params"])
    assert (shared["weight_decay"], own["weight_decay"]) == (5e-4, 0.0)
    assert shared["lr"] == own["lr"] == 0.1


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_optimiser_takes_the_schedules_numbers(nets: Networks, nesterov: bool) -> None:
    (group,) = sgd(nets, schedule(lr=0.3, momentum=0.8, weight_decay=7e-4, nesterov=nesterov)).param_groups
    wanted = {"lr": 0.3, "momentum": 0.8, "weight_decay": 7e-4, "nesterov": nesterov, "dampening": 0}
    assert {key: group[key] for key in wanted} == wanted


def test_weight_decay_reaches_biases_and_batch_norms(nets: Networks) -> None:
    before = [w.detach().clone() for w in nets.student.parameters()]
    optimizer = sgd(nets, schedule(weight_decay=0.5))
    for weight in nets.weights().values():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight, was in zip(nets.student.parameters(), before, strict=True):
        torch.testing.assert_close(weight.detach(), was * (1 - 0.1 * 0.5))


def test_every_group_gets_the_rate_and_the_momentum() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))]}, {"params": [nn.Parameter(torch.zeros(1))], "lr": 5.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    set_rate(optimizer, 0.025, 0.85)
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.025, 0.85)] * 2
