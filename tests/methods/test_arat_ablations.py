"""AR-AT without its stop-gradient, split batch norms and predictors: each switch against a plain formula."""

import copy
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cure import catalogue
from cure.core.method import Batch, Consolidation, TrainingPosition
from cure.core.noise import Stream
from cure.errors import UserError
from cure.nn.batchnorm import SplitBatchNorm2d, is_split
from cure.settings.params import Params
from cure.storage.checkpoint import build
from tests.support.method_harness import MethodHarness, assert_close, parameters, same, shipped, state
from tests.support.project import ROOT
from tests.support.settings import changed, parsed

arat = catalogue.entry("methods", "arat")
TAPS = ["layer1.bn1", "layer2.bn1"]
SWITCHES = ("stop_gradient", "split_batchnorm", "predictor")
A = 0.3  # the clean accuracy of the epoch before


def rig(**switches: bool) -> MethodHarness:
    """AR-AT on a small network; where its batch norms are split, the two sets differ, as they do after some steps."""
    torch.manual_seed(0)
    student = build("small", {"width": 8}, 1, 10).double()
    made = MethodHarness(arat.METHOD, shipped("arat").model_copy(update={"taps": TAPS} | switches), student)
    for norm in made.nets.modules():
        if isinstance(norm, SplitBatchNorm2d):
            nn.init.uniform_(norm["clean"].weight, 0.5, 1.5)
    made.nets.double()
    return made


def digits(n: int = 12) -> Batch:
    draws = torch.Generator().manual_seed(1)
    x, y = torch.rand(n, 1, 8, 8, generator=draws, dtype=torch.float64), torch.arange(n) % 10
    position = TrainingPosition(past_means={"clean_accuracy": A})
    return Batch(x, y, torch.arange(n), Stream(0, torch.device("cpu")), position)


def stream(net: nn.Module, name: str, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and of each tap the spatial mean of the ReLU, through the batch norms of this name."""
    seen: dict[str, Tensor] = {}
    for norm in net.modules():
        if isinstance(norm, SplitBatchNorm2d):
            norm.active = name
    hooks = [
        net.get_submodule(tap).register_forward_hook(lambda module, _, out, tap=tap: seen.__setitem__(tap, out))
        for tap in TAPS
    ]
    logits = net(x)
    for hook in hooks:
        hook.remove()
    return logits, [seen[tap].relu().mean((2, 3)) for tap in TAPS]


def plain(made: MethodHarness, batch: Batch) -> dict[str, Tensor]:
    """The gradient of a CE(f(x'), y) + (1 - a) CE(f(x), y) + gamma mean_l [1 - cos(h_l(z'_l), z_l)], written down."""
    hyper, nets = made.take.hyper, made.nets
    clean, z = stream(nets.student, "clean", batch.points["clean"])
    adv, moved = stream(nets.student, "adv", batch.points["adv"])
    if hyper.stop_gradient:
        z = [one.detach() for one in z]
    if hyper.predictor:
        moved = [head(one) for head, one in zip(nets.predictor.children(), moved, strict=True)]
    cosines = [
        (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1)) for one, other in zip(moved, z, strict=True)
    ]
    pull = torch.stack([(1 - cosine).mean() for cosine in cosines]).mean()
    value = A * F.cross_entropy(adv, batch.y) + (1 - A) * F.cross_entropy(clean, batch.y) + hyper.gamma * pull
    weights = nets.weights()
    return dict(zip(weights, torch.autograd.grad(value, list(weights.values())), strict=True))


@pytest.mark.parametrize("on", list(product([True, False], repeat=3)), ids=lambda on: "-".join(map(str, on)))
def test_every_combination_takes_the_step_of_its_formula(on: tuple[bool, ...]) -> None:
    switches = dict(zip(SWITCHES, on, strict=True))
    made, other, batch = rig(**switches), rig(**switches), digits()
    batch.points = arat.attack(other.nets, batch, other.take.hyper)
    wanted = plain(other, batch)
    made.step(digits())
    assert_close(made.gradients(), wanted)
    assert same(
        {name: t for name, t in state(made.nets).items() if "running" in name},
        {name: t for name, t in state(other.nets).items() if "running" in name},
    )


def test_each_switch_changes_the_step() -> None:
    found = []
    for off in (None, *SWITCHES):
        made = rig(**({} if off is None else {off: False}))
        made.step(digits())
        found.append(made.gradients()["stem.conv1.weight"])
    for i, one in enumerate(found):
        assert all(not torch.allclose(one, other) for other in found[:i])


def test_without_stop_gradient_the_pull_reaches_the_clean_side() -> None:
    made, batch = rig(stop_gradient=False), digits()
    batch.points = arat.attack(made.nets, batch, made.take.hyper)
    batch.points["clean"] = batch.x.clone().requires_grad_()
    terms = arat.loss(made.nets, batch, made.take.hyper)
    pull = torch.stack([w * v.mean() for name, (w, v) in terms.items() if name.startswith("align_")]).sum()
    (reached,) = torch.autograd.grad(pull, batch.points["clean"])
    assert reached.flatten(1).any(dim=1).all()


def test_without_split_batch_norms_one_set_sees_the_attack_and_both_streams() -> None:
    made = rig(split_batchnorm=False)
    assert not is_split(made.nets)
    made.step(digits())
    norm = made.nets.student.get_submodule("layer1.bn1")
    assert int(norm.num_batches_tracked) == made.take.hyper.attack.steps + 2


def test_without_predictor_there_is_none() -> None:
    made = rig(predictor=False)
    assert list(made.nets) == ["student"]
    assert set(made.nets.weights()) == set(parameters(made.nets.student))


def exported(made: MethodHarness, network: str = "last") -> tuple[nn.Module, dict[str, Any]]:
    """What the stage revise exports, and its report."""
    attack = {"eps": 0.15, "step": 0.0375, "steps": 2, "start": "uniform", "clip_start": False}
    nets = {network: copy.deepcopy(made.nets.student).eval()}
    batches = iter([digits()])
    found = Consolidation(nets, {network: 3}, lambda epoch: batches, [], lambda net: {}, lambda net, draw: {})
    net, epoch, report = arat.select_network(found, arat.Revise(network=network, attack=attack))
    assert epoch == 3
    return net, report


def test_without_split_batch_norms_the_network_is_exported_as_it_is() -> None:
    made = rig(split_batchnorm=False)
    made.step(digits())
    net, report = exported(made)
    assert same(state(net), state(made.nets.student))
    assert list(report["scores"]) == ["adv_set"]
    assert list(exported(rig())[1]["scores"]) == ["clean_set", "adv_set"]


def test_without_split_batch_norms_an_average_gets_new_statistics_and_keeps_its_weights() -> None:
    made = rig(split_batchnorm=False)
    made.step(digits())
    net, _ = exported(made, "average")
    assert same(parameters(net), parameters(made.nets.student))
    norm, trained = net.get_submodule("stem.bn1"), made.nets.student.get_submodule("stem.bn1")
    assert int(norm.num_batches_tracked) == 1
    assert not torch.equal(norm.running_mean, trained.running_mean)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("off", [None, "split_batchnorm", "predictor"])
@pytest.mark.parametrize("tap", ["layer9.bn1", "stem.conv1", "stem.bn1.adv"])
def test_a_tap_that_is_no_batch_norm_is_refused_before_the_network_is_changed(off: str | None, tap: str) -> None:
    student = build("small", {"width": 8}, 1, 10)
    hyper = shipped("arat").model_copy(update={"taps": [tap]} | ({off: False} if off else {}))
    with pytest.raises(UserError, match=rf"^taps: {tap} is not a batch norm of the network; known: stem\.bn1, "):
        MethodHarness(arat.METHOD, hyper, student)
    assert not is_split(student)


@pytest.mark.parametrize("file", ["params.yaml", "quickstart/params.yaml", "pilot/params.yaml"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_every_file_has_the_whole_method_and_a_preset_without_each_part(file: str, switch: str) -> None:
    key, raw = "methods.arat.update", parsed(ROOT / file)

    def settings(raw: Any) -> Any:
        return Params(raw, [key, "train", "threat"], "cifar10", "resnet18").method(key, arat.Hyper)[0]

    assert all(getattr(settings(raw), name) for name in SWITCHES)
    ablated = settings(changed(raw, f"{key}.preset", f"no_{switch}"))
    assert ablated == settings(raw).model_copy(update={switch: False})
