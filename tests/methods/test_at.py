import copy

import pytest
import torch
import torch.nn.functional as F

from cure.adversarial.pgd import ce_objective, pgd
from cure.methods.at import METHOD, Hyper
from tests.support.method_harness import MethodHarness, assert_close, differentiate

ATTACK = {"eps": 0.15, "step": 0.0375, "steps": 10, "start": "uniform", "clip_start": True}


def hyper(*, bn: str = "eval", forward_final: bool = False, forward_clean: bool = False) -> Hyper:
    return Hyper(attack=ATTACK | {"bn": bn}, forward_final=forward_final, forward_clean=forward_clean)


def test_the_gradient_is_that_of_the_cross_entropy_on_the_adversarial_images(net, batch) -> None:
    before = copy.deepcopy(net)
    rig = MethodHarness(METHOD, hyper(), net)
    rig.step(batch)
    assert_close(rig.gradients(), differentiate(F.cross_entropy(before(batch.x_adv), batch.y), before))


def test_the_search_maximises_the_cross_entropy(make_net, make_batch) -> None:
    batch, again = make_batch(), make_batch()
    MethodHarness(METHOD, hyper(), make_net()).step(batch)
    assert torch.equal(batch.x_adv, pgd(make_net(), again, hyper().attack, ce_objective))


def test_ten_steps_cost_eleven_forwards(net, batch, passes) -> None:
    rig = MethodHarness(METHOD, hyper(), net)
    passes.watch(student=net)
    rig.step(batch)
    assert passes.forwards == {("student", "eval", True): 10, ("student", "train", True): 1}
    assert passes.backwards == {"images": 10, "weights": 1}


@pytest.mark.parametrize(
    ("final", "clean", "bn", "moves"),
    [(False, False, "eval", 1), (False, False, "batch", 1), (False, False, "train", 11), (True, True, "train", 13)],
)
def test_running_statistics_see_rices_passes_only_if_asked(net, batch, final, clean, bn: str, moves: int) -> None:
    before = int(net.bn1.num_batches_tracked)
    rig = MethodHarness(METHOD, hyper(bn=bn, forward_final=final, forward_clean=clean), net)
    rig.step(batch)
    assert int(net.bn1.num_batches_tracked) == before + moves


def test_rices_extra_forwards_keep_no_graph(net, batch, passes) -> None:
    rig = MethodHarness(METHOD, hyper(bn="train", forward_final=True, forward_clean=True), net)
    passes.watch(student=net)
    rig.step(batch)
    assert passes.forwards == {("student", "train", True): 11, ("student", "train", False): 2}


def test_rices_last_forward_sees_the_clean_images_with_the_new_weights(make_net, make_batch) -> None:
    batch, net, other = make_batch(), make_net(), make_net()
    MethodHarness(METHOD, hyper(forward_clean=True), net).step(batch)
    MethodHarness(METHOD, hyper(), other).step(make_batch())
    with torch.no_grad():
        other(batch.x)
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), other.buffers(), strict=True))
