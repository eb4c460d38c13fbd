"""What holds for every entry of cure/attacks, and for the ascents among them."""

from types import ModuleType

import pytest
import torch
from torch import nn

from cure import catalogue
from cure.adversarial.pgd import ce_objective, margin_objective, pgd
from cure.core.attack import AttackSequence, distance
from cure.core.method import Batch
from cure.core.noise import PerImage
from cure.errors import UserError

ASCENT = {"eps": 0.1, "step": 0.03, "steps": 6, "start": "uniform", "clip_start": True}
HOW = {
    "pgd": ASCENT,
    "cw": ASCENT,
    "autoattack": {"eps": 0.1, "version": "standard", "iterations": 20, "queries": 20, "targets": 9},
    "minimum": {"norm": "linf", "steps": 10, "step": 1.0, "gamma": 0.05, "targets": 1, "iterations": 10},
}
OBJECTIVES = {"pgd": ce_objective, "cw": margin_objective}
SINGLE = pytest.mark.parametrize("name", ["pgd", "cw", "minimum"])
"""AutoAttack draws its noise per batch, as its authors do."""


@pytest.fixture
def net(make_net, make_batch) -> nn.Module:
    """A frozen network to which all classes are alike on average, so that every image is near a border."""
    net = make_net(classes=10, dtype=torch.float32).eval().requires_grad_(False)
    net.linear.bias -= net(make_batch(dtype=torch.float32).x).mean(0)
    return net


def images(net, make_batch, rows=None) -> Batch:
    """The images of an evaluation, all classified correctly: noise per image."""
    whole = make_batch(classes=10, dtype=torch.float32)
    rows = whole.index if rows is None else rows
    return Batch(whole.x[rows], net(whole.x)[rows].argmax(1), rows, PerImage(0, rows))


def sequence(name: str) -> AttackSequence:
    entry = catalogue.entry("attacks", name)
    return entry.attack_sequence(entry.Hyper(**HOW[name]), 10, seed=0)


def attacked(name: str, net: nn.Module, batch: Batch) -> list[torch.Tensor]:
    return [attack(net, batch) for attack in sequence(name).attacks.values()]


@pytest.fixture(params=catalogue.names("attacks"))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_images_stay_in_the_ball_and_in_the_unit_cube(name: str, net, make_batch) -> None:
    batch, radius = images(net, make_batch), HOW[name].get("eps", 1)
    for x_adv in attacked(name, net, batch):
        assert (x_adv - batch.x).abs().max() <= radius + 1e-6
        assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert any((x_adv != batch.x).any() for x_adv in attacked(name, net, batch))


def test_the_chain_says_which_ball_it_stays_in(name: str) -> None:
    assert sequence(name).eps == HOW[name].get("eps")


def test_neither_weights_nor_statistics_nor_gradients_change(name: str, net, make_batch) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = attacked(name, net, images(net, make_batch))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    assert not any(x_adv.requires_grad for x_adv in found)


def test_the_images_given_do_not_change(name: str, net, make_batch) -> None:
    batch = images(net, make_batch)
    before = batch.x.clone(), batch.y.clone()
    attacked(name, net, batch)
    assert torch.equal(batch.x, before[0])
    assert torch.equal(batch.y, before[1])


class LastFirst(nn.Module):
    """A network that computes on (n, h, w, c), so that its gradients lie in that order."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.mixed = net, nn.Parameter(torch.eye(3), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net((x.permute(0, 2, 3, 1) @ self.mixed).permute(0, 3, 1, 2))


def test_gradients_may_lie_in_any_order(name: str, make_net, make_batch) -> None:
    net = make_net(channels=3, classes=10, dtype=torch.float32).eval().requires_grad_(False)
    whole = make_batch(classes=10, channels=3, dtype=torch.float32)
    batch = Batch(whole.x, net(whole.x).argmax(1), whole.index, PerImage(0, whole.index))
    for last, first in zip(attacked(name, LastFirst(net), batch), attacked(name, net, batch), strict=True):
        assert last.shape == first.shape
        assert (last - batch.x).abs().max() <= HOW[name].get("eps", 1) + 1e-6


@SINGLE
def test_an_image_is_attacked_alike_in_any_batch_and_order(name: str, net, make_batch) -> None:
    rows = torch.tensor([5, 0, 3])
    whole, some = attacked(name, net, images(net, make_batch)), attacked(name, net, images(net, make_batch, rows))
    for all_of_them, these in zip(whole, some, strict=True):
        torch.testing.assert_close(these, all_of_them[rows], rtol=0, atol=1e-5)


def test_it_repeats_itself(name: str, net, make_batch) -> None:
    first = attacked(name, net, images(net, make_batch))
    torch.rand(7)
    again = attacked(name, net, images(net, make_batch))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_of_the_network_grows(name: str, net, make_batch) -> None:
    batch = images(net, make_batch)
    (x_adv,), true = attacked(name, net, batch), batch.y[:, None]
    assert (net(x_adv).log_softmax(1).gather(1, true) < net(batch.x).log_softmax(1).gather(1, true)).all()


def test_unknown_settings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="restarts"):
        catalogue.hyper("attacks", name)(**HOW[name], restarts=2)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("scope", ["train", "batch"])
def test_an_evaluation_never_runs_on_batch_statistics(name: str, scope: str) -> None:
    with pytest.raises(ValueError, match="bn"):
        catalogue.hyper("attacks", name)(**ASCENT, bn=scope)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_ascends_its_own_objective(name: str, net, make_batch) -> None:
    wanted = pgd(net, images(net, make_batch), catalogue.hyper("attacks", name)(**ASCENT), OBJECTIVES[name])
    assert torch.equal(attacked(name, net, images(net, make_batch))[0], wanted)


def entry(name: str) -> ModuleType:
    return catalogue.entry("attacks", name)


def test_one_step_of_pgd_from_the_image_is_fgsm(net, make_batch) -> None:
    batch, catalogue_entry = images(net, make_batch), entry("pgd")
    hyper = catalogue_entry.Hyper(eps=0.1, step=0.1, steps=1, start="zero", clip_start=True)
    x = batch.x.clone().requires_grad_()
    nn.functional.cross_entropy(net(x), batch.y).backward()
    assert torch.equal(catalogue_entry.attack(net, batch, hyper), (batch.x + 0.1 * x.grad.sign()).clamp(0, 1))


def test_pgd_is_the_released_loop_of_trades_bit_for_bit(net, make_batch) -> None:
    batch, catalogue_entry = images(net, make_batch), entry("pgd")
    hyper = catalogue_entry.Hyper(eps=0.031, step=0.003, steps=20, start="uniform", clip_start=False)
    x_adv = batch.x + PerImage(0, batch.index).uniform(batch.x, 0.031)
    for _ in range(20):
        x_adv = x_adv.detach().requires_grad_()
        nn.functional.cross_entropy(net(x_adv), batch.y).backward()  # the mean over the batch, as there
        moved = x_adv.detach() + 0.003 * x_adv.grad.sign()
        ball = torch.min(torch.max(moved, batch.x - 0.031), batch.x + 0.031)
        x_adv = ball.clamp(0, 1)
    assert torch.equal(catalogue_entry.attack(net, batch, hyper), x_adv)


# ---- in the L2 ball

HOW_L2 = {"pgd": ASCENT | {"eps": 0.4, "step": 0.1}, "autoattack": HOW["autoattack"] | {"eps": 0.4}}


def sequence_l2(name: str, **changes) -> AttackSequence:
    kind = entry(name)
    return kind.l2_attack_sequence(kind.L2Hyper(**(HOW_L2[name] | changes)), 10, seed=0)


def test_these_have_an_l2_form() -> None:
    assert [name for name in catalogue.names("attacks") if hasattr(entry(name), "L2Hyper")] == sorted(HOW_L2)


@pytest.mark.parametrize("name", HOW_L2)
def test_in_l2_images_stay_in_the_ball_and_in_the_unit_cube(name: str, net, make_batch) -> None:
    batch, found = images(net, make_batch), sequence_l2(name)
    assert (found.eps, found.ball, found.metric) == (0.4, "l2", "l2")
    for attack in found.attacks.values():
        x_adv = attack(net, batch)
        assert distance(x_adv, batch.x, "l2").max() <= 0.4 + 1e-6
        assert 0 <= x_adv.min() <= x_adv.max() <= 1
        assert not x_adv.requires_grad


@pytest.mark.parametrize("name", HOW_L2)
def test_in_l2_some_image_leaves_the_l_inf_ball_that_lies_in_the_l2_ball(name: str, net, make_batch) -> None:
    batch = images(net, make_batch)
    side = 0.4 / batch.x[0].numel() ** 0.5
    assert any((attack(net, batch) - batch.x).abs().max() > side for attack in sequence_l2(name).attacks.values())


@pytest.mark.parametrize("name", HOW_L2)
def test_facts_tell_the_norms_apart(name: str) -> None:
    same = {"eps": 0.1, "step": 0.03} if "step" in HOW_L2[name] else {"eps": 0.1}
    assert sequence_l2(name, **same).facts != sequence(name).facts


def test_in_l2_a_radius_may_exceed_one(net, make_batch) -> None:
    batch = images(net, make_batch)
    (attack,) = sequence_l2("pgd", eps=3.0, step=1.0).attacks.values()
    assert distance(attack(net, batch), batch.x, "l2").max() > 1
    with pytest.raises(ValueError, match="eps"):
        entry("pgd").Hyper(**(ASCENT | {"eps": 3.0}))


@pytest.mark.reliability("wrong inputs")
def test_squares_l2_form_refuses_images_without_room_for_its_tiles(net) -> None:
    x = torch.rand(2, 1, 4, 9)
    batch = Batch(x, torch.zeros(2).long(), torch.arange(2), PerImage(0, torch.arange(2)))
    with pytest.raises(UserError, match="Square in L2 needs images of 5 pixels a side; these are 4x9"):
        sequence_l2("autoattack").attacks["square"](net, batch)
