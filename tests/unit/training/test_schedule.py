import copy

import pytest
import torch
from torch import nn

from cure.core.method import Companion, Networks
from cure.settings.sections import Schedule
from cure.training.schedule import rate, set_rate, sgd


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
