"""AR-AT: the acceptance checks of its specification."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cure import catalogue
from cure.core.batchnorm import SplitBatchNorm2d, branch
from cure.core.method import Batch, Consolidation
from cure.core.noise import Stream
from cure.core.predictor import head
from cure.engine.checkpoint import build
from tests.methods.rig import Rig, same, shipped, state

arat = catalogue.entry("methods", "arat")
TAPS = ["layer1.bn1", "layer2.bn1"]


def rig(taps: list[str] = TAPS, **settings: Any) -> Rig:
    torch.manual_seed(0)
    student = build("small", {"width": 8}, 1, 10)
    return Rig(arat.METHOD, shipped("arat").model_copy(update={"taps": taps} | settings), student)


def digits(n: int = 32, epoch: int = 1, step: int = 0, past: dict | None = None) -> Batch:
    draws = torch.Generator().manual_seed(1)
    x, y = torch.rand(n, 1, 8, 8, generator=draws), torch.arange(n) % 10
    return Batch(x, y, torch.arange(n), Stream(0, torch.device("cpu")), epoch, step, past=past or {})


def searched(made: Rig, past: dict | None = None) -> Batch:
    """A batch with its adversarial images."""
    batch = digits(past=past)
    batch.points = arat.inner(made.nets, batch, made.take.hyper)
    return batch


def gradients(made: Rig, value: Tensor) -> dict[str, Tensor]:
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
    assert float(arat.distance(head(512)(z), z).detach().mean()) == pytest.approx(1, abs=0.1)


def test_a_predictor_has_a_quarter_of_its_width_inside() -> None:
    (first, norm, _, second) = head(512)
    shapes = [tuple(layer.weight.shape) for layer in (first, norm, second)]
    assert shapes == [(128, 512), (128,), (512, 128)]
    assert first.bias is None


def test_without_predictor_and_attack_the_pull_is_zero() -> None:
    made = rig()
    made.nets["predictor"] = nn.ModuleDict({arat.key(tap): nn.Identity() for tap in TAPS})
    batch = digits()
    batch.points = {"adv": batch.x}
    assert abs(float(pulls(arat.loss(made.nets, batch, made.take.hyper)).detach())) < 1e-4


def test_what_is_exported_is_the_adversarial_branch_and_knows_nothing_of_the_clean_one() -> None:
    made = rig()
    for step in range(3):
        made.step(digits(step=step))
    both = made.nets.student.eval()
    x = digits().x

    def exported() -> nn.Module:
        found = Consolidation({"last": both}, {"last": 3}, iter, [], lambda net: {})
        net, epoch, _ = arat.finish(found, arat.Revise(network="last"))
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
