"""Half precision is where it was asked for and nowhere else: forwards, never weights, iterates, logits or losses."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cure import catalogue
from cure.adversarial.pgd import ce_objective, kl_objective, pgd
from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from cure.settings.base import Search
from cure.settings.sections import Schedule
from cure.storage.checkpoint import build
from cure.training.step import Step
from tests.support.method_harness import MethodHarness, same, shipped, state
from tests.support.precision import agreement, distances

METHODS = catalogue.names("methods")
HALF = torch.bfloat16
SCHEDULE = Schedule(
    epochs=50, batch=8, lr=0.1, momentum=0.9, nesterov=False, weight_decay=5e-4, drops={}, lr_schedule="drops"
)


class Convolutions(TorchDispatchMode):
    """How many convolutions ran in each precision."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.seen[args[0].dtype] = self.seen.get(args[0].dtype, 0) + 1
        return func(*args, **(kwargs or {}))


def images(n: int = 8) -> Batch:
    draws = torch.Generator().manual_seed(1)
    x, y = torch.rand(n, 1, 8, 8, generator=draws), torch.randint(10, (n,), generator=draws)
    return Batch(x, y, torch.arange(n), Stream(0, torch.device("cpu")), TrainingPosition(41, 40, 0.1))


def rig_of(name: str, precision: str) -> MethodHarness:
    torch.manual_seed(0)
    student = build("small", {"width": 4}, 1, 10)
    student(images().x)
    rig = MethodHarness(catalogue.entry("methods", name).METHOD, shipped(name), student)
    rig.take.precision = precision
    return rig


@pytest.mark.parametrize("name", METHODS)
def test_losses_gradients_weights_and_images_of_a_half_precision_step_are_in_full(name: str) -> None:
    rig, batch, seen = rig_of(name, "bf16"), images(), []
    method = rig.take.method

    def loss(nets, batch, hyper):
        terms = method.loss(nets, batch, hyper)
        seen.extend(values.dtype for _, values in terms.values())
        return terms

    rig.take.method = dataclasses.replace(method, loss=loss)
    with Convolutions() as ran:
        means = rig.step(batch)
    assert ran.seen[HALF] > 0
    assert set(seen) == {torch.float32}
    assert all(mean.dtype == torch.float32 and mean.isfinite() for mean in means.values())
    assert {t.dtype for t in state(rig.nets).values() if t.is_floating_point()} == {torch.float32}
    assert {g.dtype for g in rig.gradients().values()} == {torch.float32}
    if method.attack is not None:
        assert batch.x_adv.dtype == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16_attack"])
def test_what_is_computed_in_half_precision_is_what_was_asked_for(precision: str) -> None:
    rig = rig_of("at", precision)
    with Convolutions() as ran:
        rig.step(images())
    attack, training = 10 * 3, 3  # forwards of three convolutions; the network's first forward is of no image
    wanted = {"fp32": 0, "bf16_attack": attack, "bf16": attack + training}[precision]
    assert wanted <= ran.seen.get(HALF, 0) <= wanted + 3
    assert (ran.seen.get(torch.float32, 0) >= training) is (precision != "bf16")


def test_half_precision_is_another_training_and_full_precision_the_plain_one() -> None:
    found = {}
    for precision in ("fp32", "bf16", "bf16_attack"):
        rig = rig_of("trades", precision)
        rig.step(images())
        found[precision] = state(rig.nets)
    rig = rig_of("trades", "fp32")
    rig.take = Step(rig.nets, rig.take.method, rig.take.hyper, rig.optimizer)
    rig.step(images())
    assert same(found["fp32"], state(rig.nets))
    assert not any(same(found["fp32"], found[other]) for other in ("bf16", "bf16_attack"))


def test_a_small_gaussian_start_survives(make_net) -> None:
    """bfloat16 has 8 bits, so near 1 a start of deviation 0.001 would be no start."""
    search = Search(eps=0.1, step=1e-12, steps=1, start="gaussian", sigma=0.001, clip_start=True)
    batch = dataclasses.replace(images(), x=torch.full((8, 1, 8, 8), 0.5))
    with torch.autocast("cpu", HALF):
        moved = pgd(build("small", {"width": 4}, 1, 10), batch, search, kl_objective) - batch.x
    assert moved.dtype == torch.float32
    assert 0.0008 < float(moved.std()) < 0.0012
    assert len(moved.unique()) > 200


def test_attacks_in_both_precisions_agree_on_nearly_all_images() -> None:
    torch.manual_seed(0)
    net, batch = build("small", {"width": 8}, 1, 10), images(200)
    net(batch.x)
    with torch.no_grad():
        net.eval().linear.bias -= net(batch.x).mean(0)
        batch.y = net(batch.x).argmax(1)
    search = Search(eps=0.02, step=0.005, steps=10, start="uniform", clip_start=True)
    found = agreement(net, batch.x, batch.y, search, ce_objective)
    assert found["flags_differ"] <= 0.05
    assert 0.1 < found["robust_fp32"] < 0.9


def test_a_half_precision_step_goes_roughly_the_same_way() -> None:
    rig = rig_of("at", "fp32")
    found = distances(rig.nets, rig.take.method, rig.take.hyper, SCHEDULE, images())
    assert set(found) == {"bf16", "bf16_attack"}
    assert all(0 < far < 1 for far in found.values())
