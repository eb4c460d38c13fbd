"""The folded copy that training attacks: the same function at every moment, whatever has happened to the network."""

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from cure import catalogue
from cure.adversarial import pgd as pgd_module
from cure.adversarial.cuda_graphs import graphs
from cure.adversarial.pgd import begin, ce_objective, kl_objective, pgd
from cure.adversarial.pgd_loop import pgd_loop
from cure.core.method import Batch, TrainingPosition
from cure.core.noise import Stream
from cure.nn.batchnorm import FixedBatchNorm2d, branch, scope, split
from cure.nn.folding import folded_copy
from cure.nn.folding.foldable import foldable
from cure.nn.folding.folded_copy import current_folded_copy
from cure.settings.base import Search
from cure.storage.checkpoint import build
from tests.support.method_harness import MethodHarness, assert_close, shipped, state
from tests.support.networks import Twice

SETTINGS = {"small": {"width": 4}, "small_resnet": {"width": 4}}
PAIRS = {"small": 3, "small_resnet": 12, "resnet18": 20, "preact_resnet18": 8}
SEARCH = Search(eps=0.1, step=0.03, steps=5, start="gaussian", sigma=0.001, clip_start=True)


def logits(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad(), scope(net, "eval"):
        return net(x)


def assert_follows(net: nn.Module, x: Tensor) -> nn.Module:
    found = current_folded_copy(net, x)
    assert found is not net
    torch.testing.assert_close(found(x), logits(net, x), rtol=1e-10, atol=1e-10)
    return found


def trained(net: nn.Module, batch, steps: int = 3) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        ce_objective(net, batch)(net(batch.x)).mean().backward()
        optimizer.step()


@pytest.mark.parametrize("model", PAIRS)
def test_every_batch_norm_behind_a_convolution_is_folded(model: str) -> None:
    net, x = build(model, SETTINGS.get(model, {}), 3, 10).double(), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    net(x)
    assert_follows(net, x)
    assert len(foldable(net, x)) == PAIRS[model]


def test_a_batch_norm_over_several_processes_is_folded_like_any_other() -> None:
    net, x = build("small", {"width": 4}, 1, 3).double(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    net(x)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert_follows(synced, x)
    assert len(foldable(synced, x)) == PAIRS["small"]


def test_it_follows_training_without_being_made_again(net, batch) -> None:
    first = assert_follows(net, batch.x)
    for _ in range(2):
        before = first(batch.x)
        trained(net, batch)
        assert assert_follows(net, batch.x) is first
        assert not torch.equal(first(batch.x), before)


def test_it_follows_weights_that_are_perturbed_loaded_or_averaged(net, make_net, batch) -> None:
    first = assert_follows(net, batch.x)
    with torch.no_grad():
        torch._foreach_add_(list(net.parameters()), 0.1)
    assert assert_follows(net, batch.x) is first
    net.load_state_dict(make_net(5).state_dict())
    assert assert_follows(net, batch.x) is first
    with torch.no_grad():
        torch._foreach_lerp_(list(net.parameters()), list(make_net(6).parameters()), 0.5)
    assert assert_follows(net, batch.x) is first


def test_a_copy_of_a_network_has_a_folded_copy_of_its_own(net, batch) -> None:
    first, other = assert_follows(net, batch.x), copy.deepcopy(net)
    trained(other, batch)
    assert assert_follows(other, batch.x) is not first
    assert_follows(net, batch.x)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.float().double().to(memory_format=torch.channels_last),
        lambda net: split(net, ("clean", "adv")),
        lambda net: setattr(net, "bn2", nn.Identity()),
        lambda net: setattr(net.bn1, "__class__", FixedBatchNorm2d),
    ],
    ids=["layout", "split batch norms", "another layer", "another class"],
)
def test_a_network_of_another_form_gets_another_copy(net, batch, change) -> None:
    first = assert_follows(net, batch.x)
    change(net)
    assert assert_follows(net, batch.x) is not first


def test_another_precision_gets_another_copy(net, batch) -> None:
    current_folded_copy(net, batch.x)
    net.float()
    assert current_folded_copy(net, batch.x.float())(batch.x.float()).dtype == torch.float32


def test_the_active_branch_of_split_batch_norms_is_the_one_that_is_folded(net, batch) -> None:
    split(net, ("clean", "adv"))
    net.bn1["adv"].running_mean += 1
    found = {}
    for name in ("clean", "adv", "clean"):
        with branch(net, name):
            found[name] = assert_follows(net, batch.x)(batch.x)
    assert not torch.equal(found["clean"], found["adv"])


def test_it_has_the_layout_of_the_network(make_net, batch) -> None:
    found = current_folded_copy(make_net().to(memory_format=torch.channels_last), batch.x)
    assert found.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_network_itself_stays_as_it_was(net, batch) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = current_folded_copy(net, batch.x)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training
    assert all(weight.requires_grad for weight in net.parameters())
    assert not any(weight.requires_grad for weight in found.parameters())
    assert not found.training


def test_a_convolution_with_a_bias_is_folded_with_it(batch) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).double()
    net(batch.x)
    assert_follows(net, batch.x)


def test_a_weight_that_two_convolutions_share_is_folded_for_each(batch) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1, self.conv2, self.bn2 = (kind(4) for kind in (conv, nn.BatchNorm2d) * 2)
            self.conv2.weight = self.conv1.weight

        def forward(self, x: Tensor) -> Tensor:
            return (self.bn1(self.conv1(x)) + self.bn2(self.conv2(x))).mean((2, 3))

    def conv(width: int) -> nn.Module:
        return nn.Conv2d(1, width, 3)

    net = Tied().double()
    net(batch.x)
    nn.init.constant_(net.bn2.weight, 2.0)
    for _ in range(2):
        assert_follows(net, batch.x)


class Shared(Twice):
    """One convolution before two batch norms."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.bn(self.conv(x)) + self.conv(x)).mean((2, 3))


def unaffine() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten())


class Standardised(nn.Conv2d):
    """Computes with other weights than its own."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


def standardised() -> nn.Module:
    return nn.Sequential(Standardised(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())


def parametrised() -> nn.Module:
    return nn.Sequential(weight_norm(nn.Conv2d(1, 4, 3)), nn.BatchNorm2d(4), nn.Flatten())


def untracked() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())


@pytest.mark.parametrize(
    "make", [Twice, Shared, unaffine, untracked, standardised, parametrised, lambda: nn.Sequential(nn.Flatten())]
)
def test_where_nothing_may_be_folded_the_network_is_attacked_itself(make, batch) -> None:
    net = make().double()
    assert current_folded_copy(net, batch.x) is net


def test_a_network_that_cannot_see_no_image_is_attacked_itself(net, batch) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x).view(len(x), -1)  # of nothing, -1 could be anything

    assert foldable(Flat(), batch.x[:0]) == []


def test_a_foreign_network_is_evaluated_itself_since_it_may_remember_its_forwards(net, batch) -> None:
    assert current_folded_copy(net.requires_grad_(False), batch.x) is net
    ours = build("small", {"width": 4}, 1, 3).double().requires_grad_(False)
    assert current_folded_copy(ours, batch.x) is not ours


def test_whoever_watches_a_network_sees_the_attack(net, batch) -> None:
    seen: list[int] = []
    current_folded_copy(net, batch.x)
    hook = net.bn1.register_forward_hook(lambda *call: seen.append(1))
    pgd(net, batch, SEARCH, ce_objective)
    assert len(seen) == SEARCH.steps
    hook.remove()
    assert current_folded_copy(net, batch.x) is not net


def test_a_folded_copy_goes_with_its_network(make_net, batch) -> None:
    net = make_net()
    kept = weakref.ref(current_folded_copy(net, batch.x))
    del net
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("objective", [ce_objective, kl_objective])
@pytest.mark.parametrize("steps", [1, 10])
def test_the_attack_finds_what_the_plain_loop_on_the_network_finds(net, make_batch, objective, steps: int) -> None:
    trained(net, make_batch(24), 20)
    batch, plain = make_batch(24), make_batch(24)
    with scope(net, "eval"):
        start = begin(plain.x, SEARCH, plain.noise)
        wanted = pgd_loop(net, plain.x, start, objective(net, plain), eps=0.1, step=0.03, steps=steps)
    found = pgd(net, batch, SEARCH.model_copy(update={"steps": steps}), objective)
    # a gradient that is zero up to rounding has any sign
    assert ((found - wanted).abs() > 1e-12).double().mean() <= 0.002


@pytest.mark.parametrize("bn", ["train", "batch"])
def test_on_batch_statistics_the_network_itself_is_attacked(net, batch, monkeypatch, bn: str) -> None:
    monkeypatch.setattr(folded_copy, "_kept", {})
    pgd(net, batch, SEARCH.model_copy(update={"bn": bn}), ce_objective)
    assert folded_copy._kept == {}


@pytest.mark.parametrize("model", ["small", "small_resnet", "resnet18"])
def test_a_copy_that_holds_weights_in_bfloat16_is_the_one_that_autocast_casts(model: str) -> None:
    torch.manual_seed(0)
    settings = {} if model == "resnet18" else {"width": 4}
    net, x = build(model, settings, 3, 10), torch.rand(6, 3, 8, 8)
    plain = copy.deepcopy(net)
    for _ in range(2):  # made, and following
        for each in (net, plain):
            trained(each, Batch(x, torch.arange(6), torch.arange(6), Stream(0, torch.device("cpu"))), 1)
        with scope(net, "eval"), scope(plain, "eval"):
            cast = folded_copy.current_folded_copy(plain, x)
            with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
                held = folded_copy.current_folded_copy(net, x)
                found, wanted = held(x), cast(x)
        kinds = [
            {w.dtype for m in each.modules() if isinstance(m, nn.Conv2d) for w in m.parameters()}
            for each in (held, cast)
        ]
        assert kinds == [{torch.bfloat16}, {torch.float32}]
        assert torch.equal(found, wanted)


def test_validation_between_two_epochs_in_bfloat16_makes_no_copy_anew(net, batch) -> None:
    def copies() -> list[nn.Module]:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            half = folded_copy.current_folded_copy(net.float(), batch.x.float())
        return [half, folded_copy.current_folded_copy(net, batch.x.float())]

    first, again = copies(), copies()
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True]
    assert first[0] is not first[1]


SEARCHING = [name for name in catalogue.names("methods") if catalogue.entry("methods", name).METHOD.attack]


@pytest.mark.parametrize("name", SEARCHING)
def test_every_method_takes_the_steps_that_it_takes_on_the_network_itself(
    name, make_net, make_batch, monkeypatch
) -> None:
    def after_three_steps() -> dict[str, Tensor]:
        torch.manual_seed(0)
        student = build("small", {"width": 4}, 1, 3).double()
        student(make_batch().x)
        rig = MethodHarness(catalogue.entry("methods", name).METHOD, shipped(name), student)
        rig.nets.double()
        for i in range(3):
            batch = make_batch(8, i)
            batch.position = TrainingPosition(41, 40 + i, 0.1)
            rig.step(batch)
        return state(rig.nets)

    found = after_three_steps()
    monkeypatch.setattr(pgd_module, "current_folded_copy", lambda net, x: net)
    assert_close(found, after_three_steps())


@pytest.mark.cuda
@pytest.mark.parametrize("objective", [ce_objective, kl_objective])
def test_a_recorded_attack_follows_the_network_and_finds_what_the_loop_finds(make_net, make_batch, objective) -> None:
    net = make_net().cuda()
    for seed in range(3):
        found = []
        for wanted in (False, True):
            batch = make_batch(24, seed)
            batch.x, batch.y, batch.noise = batch.x.cuda(), batch.y.cuda(), Stream(seed, torch.device("cuda"))
            with graphs(wanted):
                found.append(pgd(net, batch, SEARCH, objective))
        assert torch.equal(*found)
        trained(net, batch)


def follows_compiled(net, make_batch, device) -> None:
    """Its attack finds what that of an equal network finds, for two batch sizes, before and after training."""
    other = copy.deepcopy(net)
    folded_copy.compile_folded_copy(net)
    for seed, size in enumerate((8, 5, 8)):
        found = []
        for which in (other, net):
            batch = make_batch(size, seed)
            batch.x, batch.y, batch.noise = batch.x.to(device), batch.y.to(device), Stream(seed, torch.device(device))
            found.append(pgd(which, batch, SEARCH, kl_objective))
            trained(which, batch)
        torch.testing.assert_close(*found)
    assert folded_copy.current_folded_copy(net, batch.x)._compiled_call_impl is not None
    assert folded_copy.current_folded_copy(other, batch.x)._compiled_call_impl is None


def test_a_compiled_copy_follows_its_network(make_net, make_batch, monkeypatch) -> None:
    monkeypatch.setattr(
        folded_copy, "COMPILER", "aot_eager"
    )  # all of torch.compile but the kernels, which take a minute
    follows_compiled(make_net(), make_batch, "cpu")


@pytest.mark.cuda
def test_compiled_kernels_follow_the_network(make_net, make_batch) -> None:
    follows_compiled(make_net().cuda(), make_batch, "cuda")
