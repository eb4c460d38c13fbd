"""RiFT: the acceptance checks of its specification, on a tiny network."""

import copy
import math

import pytest
import torch
from torch import nn

from cure import catalogue
from cure.core.method import Consolidation
from cure.errors import UserError
from cure.methods.parts import criticality as measured
from cure.methods.parts.criticality import criticality, modules
from cure.methods.parts.finetuning import tune, wrong_choice
from cure.nn.batchnorm import scope
from cure.settings.base import Search
from cure.storage.checkpoint import build
from tests.support.method_harness import same, shipped, state

rift = catalogue.entry("methods", "rift")
ATTACK = Search(eps=0.15, step=0.0375, steps=3, start="uniform", clip_start=True)
ASCENT = {"eps": 0.1, "epochs": 4, "lr": 1.0, "rule": "max"}
ADVERSE = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


@pytest.fixture
def trained(make_net, make_batch) -> nn.Module:
    """A network that has learnt its batch, in eval mode."""
    net, batch = make_net(width=8), make_batch(n=24)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(batch.x), batch.y).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture
def fixed(trained: nn.Module, make_batch) -> measured.Fixed:
    return rift.adversarial_set(trained, [make_batch(n=12), make_batch(n=12, seed=1)], ATTACK)


@pytest.mark.parametrize(("model", "count"), [("resnet18", 21), ("wrn_34_10", 35), ("small", 4)])
def test_modules_are_every_convolution_and_linear_layer(model: str, count: int) -> None:
    with torch.device("meta"):
        net = build(model, {"width": 4} if model == "small" else {}, 3, 10)
    names = modules(net)
    assert len(names) == count
    assert not [name for name in names if "bn" in name or "sub" in name]


def test_moving_any_module_hurts(trained: nn.Module, fixed: measured.Fixed) -> None:
    assert min(criticality(trained, fixed, name, **ASCENT).value for name in modules(trained)) > 0


def test_criticality_is_zero_in_a_ball_of_no_size_and_grows_with_it(trained: nn.Module, fixed: measured.Fixed) -> None:
    for name in modules(trained):
        none, some, more = (criticality(trained, fixed, name, **ASCENT | {"eps": e}).value for e in (0.0, 0.02, 0.1))
        assert abs(none) < 1e-6
        assert none < some < more


def test_criticality_does_not_depend_on_which_modules_came_before(trained: nn.Module, fixed: measured.Fixed) -> None:
    names = modules(trained)
    forwards = {name: criticality(trained, fixed, name, **ASCENT) for name in names}
    backwards = {name: criticality(trained, fixed, name, **ASCENT) for name in reversed(names)}
    assert forwards == backwards


def test_the_ascent_moves_one_weight_within_its_ball_and_leaves_the_network(
    trained: nn.Module, fixed: measured.Fixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen, honest = state(trained), [], measured.robust_loss

    def watched(net, images):
        seen.append(state(net))
        return honest(net, images)

    monkeypatch.setattr(measured, "robust_loss", watched)
    found = criticality(trained, fixed, "conv2", **ASCENT)
    assert max(found.distances) > 0.1  # so that the projection was needed
    for now in seen[1:]:
        assert [key for key in before if not torch.equal(now[key], before[key])] == ["conv2.weight"]
        moved = (now["conv2.weight"] - before["conv2.weight"]).norm()
        assert moved <= 0.1 * before["conv2.weight"].norm() * (1 + 1e-5)
    assert same(state(trained), before)


def test_the_adversarial_set_is_made_on_running_statistics_in_the_ball(trained: nn.Module, make_batch) -> None:
    before, batch = state(trained), make_batch()
    ((x_adv, y),) = rift.adversarial_set(trained, [batch], ATTACK)
    assert same(state(trained), before)
    assert torch.equal(y, batch.y)
    assert 0 < (x_adv - batch.x).abs().max() <= 0.15 + 1e-6
    assert 0 <= x_adv.min() <= x_adv.max() <= 1


@pytest.mark.parametrize("lr", [0.001, 0.3, 10.0])
def test_algorithm_1_ends_where_the_ascent_first_leaves_the_ball(
    trained: nn.Module, fixed: measured.Fixed, lr: float
) -> None:
    whole, cut = (criticality(trained, fixed, "conv2", **ASCENT | {"lr": lr, "rule": r}) for r in ("max", "stop"))
    left = [i for i, distance in enumerate(whole.distances) if distance > ASCENT["eps"]]
    end = left[0] + 1 if left else len(whole.losses)
    base, _ = measured.robust_loss(trained, fixed)
    assert (cut.losses, cut.distances) == (whole.losses[:end], whole.distances[:end])
    assert cut.value == cut.losses[-1] - base
    assert whole.value == max(whole.losses) - base


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_an_ascent_that_breaks_is_refused_and_never_chosen(
    trained: nn.Module, fixed: measured.Fixed, broken: float
) -> None:
    before = state(trained)
    with pytest.raises(UserError, match="criticality of conv1: the loss became"):
        criticality(trained, fixed, "conv1", **ASCENT | {"lr": broken})
    assert same(state(trained), before)


@pytest.mark.parametrize(
    ("bn", "changed"),
    [
        ("freeze", {"conv2.weight"}),
        ("bn_only", set()),
        ("update", {"conv2.weight"}),
    ],
)
def test_fine_tuning_changes_one_weight_and_the_statistics_where_asked(
    trained: nn.Module, make_batch, bn: str, changed: set[str]
) -> None:
    buffers = {
        f"{norm}.{key}" for norm in ("bn1", "bn2") for key in ("running_mean", "running_var", "num_batches_tracked")
    }
    net, before = copy.deepcopy(trained), state(trained)
    hyper = shipped("rift").model_copy(update=ADVERSE | {"bn": bn})
    tune(net, "conv2", [make_batch(), make_batch(seed=1)], hyper, None, 0.01)
    now = state(net)
    assert {key for key in before if not torch.equal(now[key], before[key])} == changed | (
        set() if bn == "freeze" else buffers
    )
    assert all(weight.grad is None for weight in net.parameters())


def test_interpolation_ends_in_its_networks_bit_for_bit(trained: nn.Module, make_net) -> None:
    start, end = state(trained), state(make_net(seed=5, width=8))
    assert same(rift.interpolated(start, end, 0.0), start)
    last, half = rift.interpolated(start, end, 1.0), rift.interpolated(start, end, 0.5)
    for key, tensor in end.items():
        if tensor.is_floating_point():
            assert torch.equal(last[key], tensor)
            torch.testing.assert_close(half[key], (start[key] + tensor) / 2)
        else:
            assert torch.equal(last[key], start[key])
            assert last[key].dtype == tensor.dtype


@pytest.mark.parametrize("bn", ["update", "freeze", "bn_only"])
def test_every_treatment_of_batch_norm_starts_from_the_robust_network(
    trained: nn.Module, make_batch, bn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, ends = state(trained), {}
    honest, batches = rift.fine_tuned, [make_batch(), make_batch(seed=1)]

    def watched(found, module, hyper):
        assert same(state(found.nets["robust"]), start), f"{hyper.bn} goes on from another treatment"
        ends[hyper.bn], epoch = honest(found, module, hyper)
        return ends[hyper.bn], epoch

    monkeypatch.setattr(rift, "fine_tuned", watched)
    right = iter(torch.arange(100)[:, None] > torch.arange(100))  # every point has one more than the one before
    found = Consolidation(
        {"robust": trained},
        {},
        lambda epoch: iter(batches),
        batches,
        lambda net: {"clean": 0.5, "pgd": 0.5},
        lambda net, draw: {"clean": next(right), "pgd": torch.ones(100, dtype=torch.bool)},
    )
    hyper = shipped("rift").model_copy(update={"bn": bn, "mrc_epochs": 1, "attack": ATTACK, "draws": 1})
    net, _, report = rift.select_network(found, hyper)
    assert list(report["interpolation"]) == list(ends) == ["update", "freeze", "bn_only"]
    assert same(state(net), rift.interpolated(start, ends[bn], 1.0))
    images = sum(len(batch.y) for batch in batches)
    assert report["ascent"] == {"images": images, "batch": images // 2, "epochs": 1, "steps": 2, "lr": 1.0, "eps": 0.1}


def test_the_rate_of_fine_tuning_falls_at_its_drops() -> None:
    hyper = shipped("rift").model_copy(update={"lr": 0.5, "drops": {3: 0.1, 5: 0.01}})
    assert [hyper.rate(epoch) for epoch in range(1, 7)] == [0.5, 0.5, 0.05, 0.05, 0.005, 0.005]


@pytest.mark.parametrize(
    ("robust", "clean", "chosen"),
    [
        ([53.6, 53.7, 53.5, 53.4], [81.0, 82.0, 83.0, 84.0], 2),  # 53.5 is within a tenth of 53.6, 53.4 is not
        ([64.2, 64.1], [81.0, 82.0], 1),  # 64.2 - 0.1 is more than 64.1 in floats
        ([53.6, 53.0, 52.0, 51.0], [81.0, 82.0, 83.0, 84.0], 0),
        ([53.6, 53.6, 53.6, 53.6], [81.0, 82.0, 82.0, 80.0], 1),  # ties go to the smaller a
    ],
)
def test_the_chosen_point_is_the_best_clean_one_that_stays_robust(
    robust: list[float], clean: list[float], chosen: int
) -> None:
    assert rift.choose(clean, robust, 0.1) == chosen


def test_a_point_is_as_robust_as_the_mean_of_its_draws(trained: nn.Module) -> None:
    """Clean accuracy rises with a; by its first draw alone the last point would be allowed."""
    start, end = state(trained), {key: tensor + 1 for key, tensor in state(trained).items()}
    states = [rift.interpolated(start, end, i / 10) for i in range(11)]
    seen: list[tuple[float, int]] = []

    def correct(net: nn.Module, draw: int) -> dict[str, torch.Tensor]:
        a = float(net.linear.bias[0].detach() - start["linear.bias"][0])
        seen.append((round(a, 1), draw))
        hurt = 1 + (a > 0.75) if draw else 1  # images that the attack breaks
        return {"clean": torch.arange(1000) < 500 + round(10 * a), "pgd": torch.arange(1000) >= hurt}

    found = Consolidation({}, {}, iter, [], lambda net: {}, correct)
    hyper = shipped("rift").model_copy(update={"slack": 0.05, "draws": 3})
    index, report = rift.walked(trained, states, found, hyper)
    assert seen == [(i / 10, draw) for i in range(11) for draw in range(3)]
    assert [point["pgd"] for point in report["points"]] == pytest.approx([0.999] * 8 + [0.999 - 2 / 3000] * 3)
    assert (index, report["a"]) == (7, 0.7)


def doubt(clean: torch.Tensor, robust: torch.Tensor, chosen: int, slack: float) -> tuple[float, float]:
    found = wrong_choice(clean.double().numpy(), robust.double().numpy(), chosen, slack)
    return found["another"], found["weaker"]


def test_how_often_a_choice_is_wrong_is_the_chance_that_its_images_are_drawn() -> None:
    """The bootstrap draws one of many images with 1 - 1/e = 63.2 %, and at least twice with 1 - 2/e = 26.4 %."""
    n = 1000
    same, one_more = torch.zeros(2, n), torch.zeros(2, n)
    one_more[1, 0] = 1
    one_less = 1 - one_more
    assert doubt(same, torch.ones(2, n), 0, 0.1) == (0, 0)
    assert doubt(one_more, torch.ones(2, n), 1, 0.1) == (pytest.approx(0.368, abs=0.05), 0)
    assert doubt(same, one_less, 1, 0.1) == (1, pytest.approx(0.264, abs=0.05))
    assert doubt(same, 1 - one_more / 5, 1, 0.1)[1] == pytest.approx(0.0006, abs=0.002)  # of five draws one is lost


def test_points_that_agree_on_every_image_are_never_confused() -> None:
    """Sums that differ by rounding alone decide no tie."""
    draws = torch.Generator().manual_seed(0)
    clean, robust = torch.rand(999, generator=draws).round(), torch.rand(999, generator=draws)
    assert doubt(clean.expand(11, -1), robust.expand(11, -1), 0, 0.0) == (0, 0)


def test_a_rescaled_convolution_under_batch_norm_is_as_critical_as_before(
    trained: nn.Module, fixed: measured.Fixed
) -> None:
    scaled = copy.deepcopy(trained)
    with torch.no_grad():
        scaled.conv2.weight *= 3
        scaled.bn2.running_mean *= 3
        scaled.bn2.running_var *= 9
        scaled.bn2.eps *= 9
    with scope(scaled, "eval"):
        torch.testing.assert_close(scaled(fixed[0][0]), trained(fixed[0][0]), rtol=0, atol=1e-4)
    one, other = (criticality(net, fixed, "conv2", eps=0.1, epochs=10, lr=1.0, rule="max") for net in (trained, scaled))
    assert min(one.distances[0], other.distances[0]) > 0.1  # both reach the edge of their ball
    assert other.value == pytest.approx(one.value, rel=0.15)
