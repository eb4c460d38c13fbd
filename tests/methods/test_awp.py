"""AWP against the released procedure written out: a proxy network, an ascent step, a step at w + v, and back."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cure import catalogue
from cure.core.method import Batch, Networks
from cure.core.noise import Stream
from cure.methods.parts.base_losses import BASES
from cure.settings.base import Search
from tests.support.method_harness import MethodHarness, assert_close, parameters, same, state

LR, MOMENTUM, DECAY, GAMMA = 0.1, 0.9, 0.05, 0.01
ATTACK = Search(eps=0.15, step=0.0375, steps=3, start="uniform", clip_start=True)
METHOD = catalogue.entry("methods", "awp").METHOD
BASE = {"at": 0.0, "trades": 6.0, "mart": 5.0}


def hyper(base: str = "at", **changes: Any) -> Any:
    settings = {
        "gamma": GAMMA,
        "begin": 1,
        "base": base,
        "weight": BASE[base],
        "attack": ATTACK,
        "forward_again": False,
        "forward_final": False,
        "forward_clean": False,
    }
    return catalogue.entry("methods", "awp").Hyper(**(settings | changes))


def rig_of(net: nn.Module, base: str = "at", **changes: Any) -> MethodHarness:
    return MethodHarness(METHOD, hyper(base, **changes), net, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)


def objective(net: nn.Module, batch: Batch, base: str) -> Tensor:
    terms = BASES[base].loss(Networks(net, {}, {}), batch, BASE[base], adv_first=True)
    return sum(weight * values.mean() for weight, values in terms.values())


def released(net: nn.Module, batch: Batch, base: str) -> nn.Module:
    """One step of the authors' training on given x', with their proxy."""
    proxy = copy.deepcopy(net).train()
    ascent = torch.optim.SGD(proxy.parameters(), lr=0.01)
    (-objective(proxy, batch, base)).backward()
    ascent.step()
    moves = {}
    for (name, w), new in zip(net.named_parameters(), proxy.parameters(), strict=True):
        if w.ndim > 1:
            diff = (new - w).detach()
            moves[name] = w.detach().norm() / (diff.norm() + 1e-20) * diff
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    with torch.no_grad():
        for name, move in moves.items():
            net.get_parameter(name).add_(GAMMA * move)
    optimizer.zero_grad()
    objective(net, batch, base).backward()
    optimizer.step()
    with torch.no_grad():
        for name, move in moves.items():
            net.get_parameter(name).sub_(GAMMA * move)
    return net


@pytest.mark.parametrize("base", BASE)
def test_one_step_is_the_released_one(make_net, batch, base: str) -> None:
    rig = rig_of(make_net(0).double(), base)
    batch.x = batch.x.double()
    rig.step(batch)
    wanted = released(make_net(0).double().train(), batch, base)
    assert_close(state(rig.nets.student), state(wanted))


@pytest.mark.parametrize("again", [False, True])
def test_trades_awp_moves_running_statistics_by_the_released_order(make_net, batch, again: bool) -> None:
    rig = rig_of(make_net(0), "trades", forward_again=again)
    rig.optimizer.step = lambda: rig.seen.update(ahead=copy.deepcopy(rig.nets.student))
    rig.step(batch)
    by_hand = make_net(0).train()
    by_hand.load_state_dict(parameters(rig.seen["ahead"]), strict=False)
    for x in (batch.x_adv, batch.x, batch.x)[: 2 + again]:
        by_hand(x)
    assert_close(dict(by_hand.named_buffers()), dict(rig.nets.student.named_buffers()))


def test_at_awp_with_rices_forwards_moves_running_statistics_thirteen_times_and_nothing_else(make_net, batch) -> None:
    plain, rice = (
        rig_of(make_net(0), attack=ATTACK.model_copy(update={"bn": "train", "steps": 10}), **changes)
        for changes in ({}, {"forward_final": True, "forward_clean": True})
    )
    for rig in (plain, rice):
        batch.noise = Stream(0, torch.device("cpu"))
        rig.step(batch)
    assert same(parameters(plain.nets.student), parameters(rice.nets.student))
    before = int(make_net(0).bn1.num_batches_tracked)
    assert [int(rig.nets.student.bn1.num_batches_tracked) - before for rig in (plain, rice)] == [11, 13]


def test_without_gamma_it_is_its_base(make_net, batch) -> None:
    rig = rig_of(make_net(0), gamma=0)
    rig.step(batch)
    wanted = make_net(0).train()
    objective(wanted, batch, "at").backward()
    assert_close(rig.gradients(), {name: w.grad for name, w in wanted.named_parameters()})


def test_before_it_begins_the_weights_stay_where_they_are(make_net, batch) -> None:
    rig = rig_of(make_net(0), begin=2)
    rig.step(batch)
    assert "perturbation" not in batch.points


def test_every_layer_moves_by_gamma_of_its_own_norm_and_norms_do_not(make_net, batch) -> None:
    rig = rig_of(make_net(0))
    before = parameters(rig.nets.student)
    rig.step(batch)
    wide, moves = batch.points["perturbation"]
    sizes = {name: w.norm() for name, w in before.items() if w.ndim > 1}
    assert len(wide) == len(sizes)
    torch.testing.assert_close(torch.stack([v.norm() for v in moves]), GAMMA * torch.stack(list(sizes.values())))


def test_the_loss_is_higher_at_the_perturbed_weights(make_net, batch) -> None:
    rig = rig_of(make_net(0))
    rig.optimizer.step = lambda: rig.seen.update(ahead=objective(rig.nets.student, batch, "at").detach())
    rig.step(batch)
    assert rig.seen["ahead"] > rig.seen["means"]["robust"][1]


def test_without_a_learning_rate_the_weights_come_back(make_net, batch) -> None:
    rig = MethodHarness(METHOD, hyper(), make_net(0).double(), lr=0)
    batch.x = batch.x.double()
    before = parameters(rig.nets.student)
    rig.step(batch)
    assert_close(parameters(rig.nets.student), before)
    assert not same(parameters(rig.nets.student), {name: w + 1e-6 for name, w in before.items()})
