"""AR-AT: the acceptance checks of its specification."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cure import catalogue
from cure.adversarial.pgd import ce_objective, pgd
from cure.core.method import Batch, Consolidation, TrainingPosition
from cure.core.noise import Stream
from cure.errors import UserError
from cure.methods.parts.predictor import head, key
from cure.nn.batchnorm import SplitBatchNorm2d, branch, fold
from cure.nn.losses import cosine_distance, cross_entropy
from cure.settings.params import Params
from cure.storage.checkpoint import build
from tests.support.method_harness import MethodHarness, same, shipped, state
from tests.support.settings import SCALES, changed

arat = catalogue.entry("methods", "arat")
TAPS = ["layer1.bn1", "layer2.bn1"]
ATTACK = {"eps": 0.15, "step": 0.0375, "steps": 3, "start": "uniform", "clip_start": False}


def rig(taps: list[str] = TAPS, **settings: Any) -> MethodHarness:
    torch.manual_seed(0)
    student = build("small", {"width": 8}, 1, 10)
    return MethodHarness(arat.METHOD, shipped("arat").model_copy(update={"taps": taps} | settings), student)


def digits(n: int = 32, epoch: int = 1, step: int = 0, past: dict | None = None) -> Batch:
    draws = torch.Generator().manual_seed(1)
    x, y = torch.rand(n, 1, 8, 8, generator=draws), torch.arange(n) % 10
    return Batch(
        x, y, torch.arange(n), Stream(0, torch.device("cpu")), TrainingPosition(epoch, step, past_means=past or {})
    )


def searched(made: MethodHarness, past: dict | None = None) -> Batch:
    """A batch with its adversarial images."""
    batch = digits(past=past)
    batch.points = arat.attack(made.nets, batch, made.take.hyper)
    return batch


def gradients(made: MethodHarness, value: Tensor) -> dict[str, Tensor]:
    weights = made.nets.weights()
    found = torch.autograd.grad(value, list(weights.values()), materialize_grads=True, retain_graph=True)
    return dict(zip(weights, found, strict=True))


def pulls(terms: dict) -> Tensor:
    return torch.stack([w * v.mean() for name, (w, v) in terms.items() if name.startswith("align_")]).sum()


def test_the_pull_reaches_the_adversarial_side_alone() -> None:
    made = rig()
    batch = searched(made)
    batch.x.requires_grad_()
    value = pulls(arat.loss(made.nets, batch, made.take.hyper))
    reached = {name for name, g in gradients(made, value).items() if g.any()}
    assert torch.autograd.grad(value, batch.x, allow_unused=True, retain_graph=True) == (None,)
    expected = {name for name in made.nets.weights() if ".clean." not in name and not name.startswith("linear.")}
    assert reached == expected


def test_the_clean_batch_norms_learn_from_the_clean_cross_entropy_at_its_weight() -> None:
    def clean_norms(a: float) -> dict[str, Tensor]:
        made = rig()
        terms = arat.loss(made.nets, searched(made, {"clean_accuracy": a}), made.take.hyper)
        total = torch.stack([w * v.mean() for w, v in terms.values() if w]).sum()
        alone = gradients(made, terms["clean"][1].mean())
        found = gradients(made, total)
        for name in found:
            if ".clean." in name:
                torch.testing.assert_close(found[name], (1 - a) * alone[name])
        return {name: g for name, g in found.items() if ".clean." in name}

    assert not any(g.any() for g in clean_norms(1.0).values())
    assert all(g.any() for g in clean_norms(0.3).values())


def test_the_balance_is_last_epochs_accuracy_and_chance_at_first() -> None:
    made = rig()
    weights = {name: w for name, (w, _) in arat.loss(made.nets, searched(made), made.take.hyper).items()}
    assert (weights["adv"], weights["clean"]) == pytest.approx((0.1, 0.9))
    terms = arat.loss(made.nets, searched(made, {"clean_accuracy": 0.3}), made.take.hyper)
    assert (terms["adv"][0], terms["clean"][0]) == (0.3, 0.7)
    assert [w for name, (w, _) in terms.items() if name.startswith("align_")] == [30 / len(TAPS)] * len(TAPS)


def test_one_step_moves_the_clean_statistics_once_and_the_adversarial_ones_with_every_forward() -> None:
    made = rig()
    made.step(digits())
    norm = made.nets.student.get_submodule("layer1.bn1")
    assert isinstance(norm, SplitBatchNorm2d)
    steps = made.take.hyper.attack.steps
    assert {name: int(norm[name].num_batches_tracked) for name in ("adv", "clean")} == {"adv": steps + 1, "clean": 1}
    assert not torch.equal(norm["adv"].running_mean, norm["clean"].running_mean)


def test_the_search_leaves_the_clean_batch_norms_and_the_images() -> None:
    made, plain = rig(), digits()
    before = {name: t for name, t in state(made.nets.student).items() if ".clean." in name}
    batch = searched(made)
    now = {name: t for name, t in state(made.nets.student).items() if ".clean." in name}
    assert same(now, before)
    assert torch.equal(batch.x, plain.x)


def test_a_fresh_predictor_is_about_orthogonal_to_its_target() -> None:
    z = torch.rand(128, 512)
    assert float(cosine_distance(head(512)(z), z).detach().mean()) == pytest.approx(1, abs=0.1)


def test_a_predictor_has_a_quarter_of_its_width_inside() -> None:
    (first, norm, _, second) = head(512)
    shapes = [tuple(layer.weight.shape) for layer in (first, norm, second)]
    assert shapes == [(128, 512), (128,), (512, 128)]
    assert first.bias is None


def test_without_predictor_and_attack_the_pull_is_zero() -> None:
    made = rig()
    made.nets["predictor"] = nn.ModuleDict({key(tap): nn.Identity() for tap in TAPS})
    batch = digits()
    batch.points = {"adv": batch.x, "clean": batch.x}
    assert abs(float(pulls(arat.loss(made.nets, batch, made.take.hyper)).detach())) < 1e-4


def test_what_is_exported_is_the_adversarial_branch_and_knows_nothing_of_the_clean_one() -> None:
    made = rig()
    for step in range(3):
        made.step(digits(step=step))
    both = made.nets.student.eval()
    x = digits().x

    def exported() -> nn.Module:
        found = Consolidation({"last": both}, {"last": 3}, iter, [], lambda net: {}, lambda net, draw: {})
        net, epoch, _ = arat.select_network(found, arat.Revise(network="last", attack=ATTACK))
        assert epoch == 3
        return net.eval()

    plain = exported()
    assert list(plain.state_dict()) == list(build("small", {"width": 8}, 1, 10).state_dict())
    torch.testing.assert_close(plain(x), both(x), rtol=0, atol=1e-6)
    with branch(both, "clean"):
        assert not torch.allclose(both(x), plain(x))
    with torch.no_grad():
        for name, tensor in both.state_dict().items():
            if ".clean." in name and tensor.is_floating_point():
                tensor.uniform_(1, 2)
    assert torch.equal(exported()(x), plain(x))


def test_on_one_batch_the_streams_come_together_and_are_learnt() -> None:
    made = rig()
    patterns = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(3)).round()
    seen = []
    for step in range(50):
        batch = digits(step=step)
        seen.append(made.step(dataclasses.replace(batch, x=0.9 * patterns[batch.y] + 0.1 * batch.x)))
    for name in ("adv", "clean", "align_layer2.bn1"):
        assert seen[-1][name] < seen[0][name]


def test_in_place_the_start_replaces_the_clean_images_as_in_the_released_attack() -> None:
    made = rig(start_in_place=True)
    attack, plain = made.take.hyper.attack, digits()
    other = copy.deepcopy(made.nets.student)
    batch = searched(made)
    noised = plain.x + Stream(0, torch.device("cpu")).uniform(plain.x, attack.eps)
    x = noised
    with branch(other, "adv"):
        for _ in range(attack.steps):
            x = x.detach().requires_grad_()
            (g,) = torch.autograd.grad(nn.functional.cross_entropy(other(x), plain.y), x)
            x = (x + attack.step * g.sign()).clamp(noised - attack.eps, noised + attack.eps).clamp(0, 1)
    torch.testing.assert_close(batch.x_adv, x.detach())
    assert torch.equal(batch.points["clean"], noised)
    assert torch.equal(batch.x, plain.x)
    assert attack.eps < (batch.x_adv - plain.x).abs().max() <= 2 * attack.eps + 1e-6
    assert noised.min() < 0
    terms = arat.loss(made.nets, batch, made.take.hyper)
    with branch(other, "clean"):
        torch.testing.assert_close(terms["clean"][1], cross_entropy(other(noised), plain.y))


def test_otherwise_the_clean_stream_sees_the_images_themselves() -> None:
    made = rig()
    assert torch.equal(searched(made).points["clean"], digits().x)


def test_a_measured_balance_is_the_accuracy_of_the_clean_set_on_whole_batches() -> None:
    made = rig(balance_images=40)
    made.step(digits())
    batches = [digits() for _ in range(4)]
    for i, batch in enumerate(batches):
        batch.y = (batch.y + i) % 10
    before, given = state(made.nets), iter(batches)
    found = arat.before_epoch(made.nets, 2, given, made.take.hyper)
    assert same(state(made.nets), before)
    assert len(list(given)) == 2
    with branch(made.nets.student.eval(), "clean"):
        right = [made.nets.student(batch.x).argmax(dim=1) == batch.y for batch in batches[:2]]
    assert found == {"clean_accuracy": pytest.approx(float(torch.cat(right).float().mean()))}


@pytest.mark.parametrize("scale", SCALES)
def test_the_released_preset_starts_in_place_and_balances_over_1024_images(scale: str) -> None:
    raw, key = changed(SCALES[scale], "methods.arat.update.preset", "released"), "methods.arat.update"
    hyper, train = Params(raw, [key, "train", "threat"], "cifar10", "resnet18").method(key, arat.Hyper)
    made = rig(**{name: getattr(hyper, name) for name in ("balance_images", "start_in_place", "attack")})
    batch, plain = searched(made), digits()
    assert hyper.attack.eps < (batch.x_adv - plain.x).abs().max() <= 2 * hyper.attack.eps + 1e-6
    assert torch.equal(batch.points["clean"] != plain.x, torch.ones_like(plain.x, dtype=torch.bool))
    given = iter([digits(train.batch) for _ in range(20)])
    found = arat.before_epoch(made.nets, 1, given, made.take.hyper)
    assert (20 - len(list(given))) * train.batch == 1024
    assert list(found) == ["clean_accuracy"]


def test_a_measured_balance_goes_before_the_running_one() -> None:
    made = rig()
    batch = searched(made, {"clean_accuracy": 0.3})
    batch.position = dataclasses.replace(batch.position, found={"clean_accuracy": 0.6})
    assert arat.loss(made.nets, batch, made.take.hyper)["adv"][0] == 0.6
    assert arat.before_epoch(made.nets, 1, iter([]), made.take.hyper) == {}


def averaged(batches: list[Batch]) -> tuple[nn.Module, nn.Module, int]:
    """What `select_network` makes of an average, the network that it made it of, and the epoch."""
    made = rig()
    for step in range(2):
        made.step(digits(step=step))
    both = made.nets.student.eval()
    found = Consolidation(
        {"average": both},
        {"last": 7, "best": 3, "average": 5},
        lambda epoch: iter(batches),
        [],
        lambda net: {},
        lambda net, draw: {},
    )
    net, epoch, _ = arat.select_network(found, arat.Revise(network="average", attack=ATTACK))
    return net, both, epoch


def test_an_average_is_exported_with_statistics_of_attacked_images_each_batch_once() -> None:
    net, both, epoch = averaged([digits(), digits(n=20)])
    expected = copy.deepcopy(both)
    fold(expected, "adv")
    weights = dict(expected.named_parameters())
    assert all(torch.equal(w, weights[name]) for name, w in net.named_parameters())
    seen: list[Tensor] = []
    first = expected.stem.conv1
    for batch in (digits(), digits(n=20)):
        x_adv = pgd(expected.eval(), batch, arat.Revise(network="average", attack=ATTACK).attack, ce_objective)
        seen.append(first(x_adv).mean(dim=(0, 2, 3)).detach())
    torch.testing.assert_close(net.stem.bn1.running_mean, torch.stack(seen).mean(dim=0))
    assert int(net.stem.bn1.num_batches_tracked) == 2
    assert epoch == 5


def test_an_average_that_was_not_kept_is_refused_by_where_to_set_it() -> None:
    found = Consolidation({}, {"last": 7}, iter, [], lambda net: {}, lambda net, draw: {})
    with pytest.raises(UserError, match=r"methods\.arat\.revise\.network: average, but the update kept none"):
        arat.select_network(found, arat.Revise(network="average", attack=ATTACK))
