import pytest
import torch
from torch import nn

from cure.errors import UserError
from cure.evaluation.cost import ColumnCost, images_for
from cure.evaluation.speed import AttackSpeed, PassTime, arithmetic, measure_speed
from cure.evaluation.survivor import Work
from tests.support.attacks import spending


def test_seconds_of_passes_by_hand():
    assert PassTime(call=1.0, image=0.5).seconds(25, batch=10) == 3 * 1 + 25 * 0.5
    speed = AttackSpeed(PassTime(1.0, 0.1), PassTime(2.0, 0.3), batch=10, own={"pgd": PassTime(0.5, 0.0)})
    # on 20 images in two batches: one forward (2 + 2 s), two with gradient (4 + 6 s), three times half a second a batch
    assert speed.seconds("pgd", Work(3, 2), 20) == pytest.approx(4 + 2 * 10 + 3 * 1)
    assert speed.seconds("cw", Work(3, 2), 20) == pytest.approx(4 + 2 * 10)
    assert speed.check(20) == pytest.approx(4)


def test_seconds_of_a_column_by_hand():
    speed = AttackSpeed(PassTime(0.0, 1.0), PassTime(0.0, 3.0), batch=50)
    sequential = ColumnCost({"pgd": Work(3, 2), "square": Work(10, 0)})
    # a clean forward; 0.8 of the images meet the first attack (7 s and a check), 0.5 the second (10 s and a check)
    assert sequential.seconds(speed, 100, clean=0.8, robust=0.5) == pytest.approx(100 * (1 + 0.8 * 8 + 0.5 * 11))
    everywhere = ColumnCost(sequential.attacks, sequential=False)
    assert everywhere.seconds(speed, 100, clean=0.8, robust=0.5) == pytest.approx(100 * (1 + 0.8 * 8 + 0.8 * 11))
    random = ColumnCost({"pgd": Work(3, 2)}, passes=20)
    assert random.seconds(speed, 100, clean=0.8, robust=0.5) == pytest.approx(100 * (20 + 0.8 * 27))
    few = ColumnCost(sequential.attacks, subset=10)
    assert few.seconds(speed, 100, clean=0.8, robust=0.5) == pytest.approx(10 * (1 + 0.8 * 8 + 0.5 * 11))


def test_the_pace_is_measured_and_the_network_left_alone(net, make_batch):
    speed = measure_speed(net, make_batch(40).x, 20, {}, 10)
    assert min(speed.forward.seconds(1, 20), speed.gradient.seconds(1, 20)) > 0
    assert net.training
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but where something says how long it takes."""
    now = [0.0]
    monkeypatch.setattr("cure.evaluation.speed.time.perf_counter", lambda: now[0])
    return now


class Taking(nn.Module):
    """A forward takes 0.01 s and 0.001 s an image, whatever the clock says."""

    def __init__(self, now):
        super().__init__()
        self.now = now

    def forward(self, x):
        self.now[0] += 0.01 + 0.001 * len(x)
        return x.sum((1, 2, 3))[:, None]


@pytest.mark.parametrize("images", [2, 10, 40])
def test_two_batch_sizes_tell_a_call_from_an_image(clock, images):
    found = measure_speed(Taking(clock), torch.rand(images, 1, 4, 4), 40, {}, 10)
    for speed in (found.forward, found.gradient):
        assert (speed.call, speed.image) == (pytest.approx(0.01), pytest.approx(0.001))


def test_of_a_slow_network_no_large_batch_is_timed(clock):
    seen = []

    def slow(module, x):
        seen.append(len(x[0]))
        clock[0] += len(x[0])

    net = Taking(clock)
    net.register_forward_pre_hook(slow)
    measure_speed(net, torch.rand(100, 1, 4, 4), 100, {}, 10)
    assert max(seen) == 16


def test_what_an_attack_computes_itself_is_told_from_the_network(clock):
    forwards = spending(5, 2)

    def attack(net, batch):
        clock[0] += 5 * (0.02 + 0.003 * len(batch.x))  # five forwards, each with so much besides
        return forwards(net, batch)

    found = arithmetic(attack, torch.rand(3, 1, 4, 4), 10)
    assert (found.call, found.image) == (pytest.approx(0.02), pytest.approx(0.003))


def test_an_attack_without_a_forward_costs_nothing_beside_its_check():
    assert arithmetic(spending(0, 0), torch.rand(3, 1, 4, 4), 10).seconds(1, 1) < 1
    assert AttackSpeed(PassTime(1.0, 0.1), PassTime(2.0, 0.3), batch=10).seconds("noise", Work(0, 0), 20) == 0


def test_a_budget_picks_the_number_of_images_and_says_so():
    assert images_for(100.0, total=lambda n: 0.5 * n, images=1000, robust=0.5) == (
        200,
        "200 of 1000 images, about 100 s of 100 s; robust accuracy then within about 6.9 points",
    )
    assert images_for(1e6, total=lambda n: 0.5 * n, images=1000, robust=0.5)[0] == 1000


def test_a_budget_below_one_image_is_refused():
    with pytest.raises(UserError, match=r"--budget: 3 s are less than the 12 s that one image takes; allow more time"):
        images_for(3.0, total=lambda n: 12.0 * n, images=1000, robust=0.5)


def test_a_column_on_fewer_images_does_not_get_dearer_beyond_them() -> None:
    # 10 seconds for a column on at most 60 images, 0.01 for each image of the rest
    fit, _ = images_for(5.0, total=lambda n: 10 * min(n, 60) / 60 + 0.01 * n, images=500, robust=0.5)
    assert fit == 28
