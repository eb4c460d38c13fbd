import copy

import pytest
import torch
import torch.nn.functional as F

from cure.adversarial.pgd import kl_objective, pgd
from cure.core.noise import Stream
from cure.methods.trades import METHOD, Hyper
from tests.support.method_harness import MethodHarness, assert_close, differentiate, parameters, same

ATTACK = {"eps": 0.15, "step": 0.0375, "steps": 10, "start": "gaussian", "sigma": 0.001, "clip_start": False}


def hyper(beta: float = 6.0, *, forward_again: bool = False) -> Hyper:
    return Hyper(beta=beta, forward_again=forward_again, attack=ATTACK)


def test_without_beta_the_gradient_is_that_of_clean_training(net, batch) -> None:
    before = copy.deepcopy(net)
    rig = MethodHarness(METHOD, hyper(0), net)
    rig.step(batch)
    assert_close(rig.gradients(), differentiate(F.cross_entropy(before(batch.x), batch.y), before))


@pytest.mark.parametrize("beta", [1.0, 6.0])
def test_the_gradient_flows_through_both_arguments_of_the_divergence(net, batch, beta: float) -> None:
    before = copy.deepcopy(net)
    rig = MethodHarness(METHOD, hyper(beta), net)
    rig.step(batch)
    clean, adv = before(batch.x), before(batch.x_adv)
    value = F.cross_entropy(clean, batch.y) + beta * F.kl_div(
        adv.log_softmax(1), clean.softmax(1), reduction="batchmean"
    )
    assert_close(rig.gradients(), differentiate(value, before))


def test_the_search_maximises_the_divergence_from_the_eval_mode_prediction(make_net, make_batch) -> None:
    batch = make_batch()
    MethodHarness(METHOD, hyper(), make_net()).step(batch)
    assert torch.equal(batch.x_adv, pgd(make_net(), make_batch(), hyper().attack, kl_objective))


def test_the_search_uses_no_label(make_net, make_batch) -> None:
    found = []
    for shift in (0, 1):
        batch = make_batch()
        batch.y = (batch.y + shift) % 3
        MethodHarness(METHOD, hyper(), make_net()).step(batch)
        found.append(batch.x_adv)
    assert torch.equal(*found)


def test_ten_steps_cost_thirteen_forwards(net, batch, passes) -> None:
    rig = MethodHarness(METHOD, hyper(), net)
    passes.watch(student=net)
    rig.step(batch)
    assert passes.forwards == {
        ("student", "eval", False): 1,
        ("student", "eval", True): 10,
        ("student", "train", True): 2,
    }
    assert passes.backwards == {"images": 10, "weights": 1}


def test_the_clean_images_move_the_running_statistics_first(make_net, batch) -> None:
    net, by_hand = make_net(), make_net()
    MethodHarness(METHOD, hyper(), net).step(batch)
    by_hand(batch.x)
    by_hand(batch.x_adv)
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), by_hand.buffers(), strict=True))


def test_the_authors_second_clean_forward_moves_running_statistics_and_nothing_else(make_net, batch) -> None:
    once, twice = (MethodHarness(METHOD, hyper(forward_again=again), make_net(0)) for again in (False, True))
    for rig in (once, twice):
        batch.noise = Stream(0, torch.device("cpu"))
        rig.step(batch)
    assert same(parameters(once.nets.student), parameters(twice.nets.student))
    counts = [int(rig.nets.student.bn1.num_batches_tracked) for rig in (once, twice)]
    assert counts[1] == counts[0] + 1
    assert not torch.equal(once.nets.student.bn1.running_mean, twice.nets.student.bn1.running_mean)
