"""Which tensors move when some parts of a network are updated, and which do not by a single bit."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cure import catalogue
from cure.core.method import Batch
from cure.core.network import Network
from cure.nn.batchnorm import FixedBatchNorm2d
from cure.nn.freezing import freeze, reinitialise
from cure.settings.base import Search
from tests.support.method_harness import MethodHarness, same, state

HONEST = {"freeze_stem": True, "bn_frozen_eval": True}
RELEASED = {"freeze_stem": False, "bn_frozen_eval": False}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def network(seed: int = 0) -> Network:
    """A small ResNet whose batch norms have seen something."""
    torch.manual_seed(seed)
    entry = catalogue.entry("models", "small_resnet")
    net: Network = entry.MODEL(entry.Hyper(width=4), 1, 3)
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(16, 1, 8, 8))
    return net


def trained(net: Network, make_batch: Any, **changes: Any) -> set[str]:
    """The tensors that two steps of AT changed."""
    before, entry = state(net), catalogue.entry("methods", "at")
    attack = Search(**{"eps": 0.1, "step": 0.05, "steps": 2, "start": "uniform", "clip_start": True, **changes})
    rig = MethodHarness(entry.METHOD, entry.Hyper(attack=attack, forward_final=False, forward_clean=False), net)
    for seed in (0, 1):
        batch: Batch = make_batch(8, seed, size=8, dtype=torch.float32)
        rig.step(batch)
    after = state(net)
    return {key for key in before if not torch.equal(before[key], after[key])}


def parameters(net: nn.Module) -> set[str]:
    return {name for name, _ in net.named_parameters()}


def statistics(keys: set[str]) -> set[str]:
    return {key for key in keys if key.endswith(STATISTICS)}


@pytest.mark.parametrize("scope", ["eval", "train", "batch"])
@pytest.mark.parametrize("parts", [["layer1"], ["layer2", "layer3"], ["stem", "logits"]])
def test_nothing_outside_the_chosen_parts_moves_by_a_bit(parts: list[str], scope: str, make_batch: Any) -> None:
    net = network()
    own = {
        id(tensor) for part in parts for m in net.members()[part] for tensor in m.state_dict(keep_vars=True).values()
    }
    wanted = {key for key, tensor in net.state_dict(keep_vars=True).items() if id(tensor) in own}
    freeze(net, parts, **HONEST)
    assert trained(net, make_batch, bn=scope) == wanted  # whatever mode the attack forwards in


def test_in_the_released_variant_the_stem_is_trained_and_every_statistic_drifts(make_batch: Any) -> None:
    net = network()
    everything = set(net.state_dict())
    freeze(net, ["layer2"], **RELEASED)
    moved = trained(net, make_batch)
    stem = {"conv1.weight", "bn1.weight", "bn1.bias"}
    assert moved - statistics(moved) == stem | {key for key in parameters(net) if key.startswith("layer2.")}
    assert statistics(moved) == statistics(everything)


def test_a_frozen_stem_may_still_drift(make_batch: Any) -> None:
    net = network()
    freeze(net, ["logits"], freeze_stem=True, bn_frozen_eval=False)
    moved = trained(net, make_batch)
    assert moved - statistics(moved) == {"linear.weight", "linear.bias"}
    assert "bn1.running_mean" in moved


def test_with_every_part_chosen_nothing_is_frozen(make_batch: Any) -> None:
    net, plain = network(), network()
    freeze(net, net.updatable(), **HONEST)
    assert trained(net, make_batch) == trained(plain, make_batch) == set(net.state_dict())
    assert same(state(net), state(plain))


def test_fixed_batch_norm_is_batch_norm_in_eval_mode() -> None:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm(torch.rand(8, 3, 4, 4))
        norm.weight.uniform_()
    fixed = FixedBatchNorm2d(3)
    fixed.load_state_dict(norm.state_dict())
    x = torch.rand(5, 3, 4, 4)
    wanted = norm.eval()(x)
    for mode in (True, False):
        assert torch.equal(fixed.train(mode)(x), wanted)


def changed(net: Network, before: dict[str, Tensor]) -> set[str]:
    return {key for key, tensor in net.state_dict().items() if not torch.equal(tensor, before[key])}


def test_fresh_weights_are_those_of_the_chosen_convolutions_alone() -> None:
    net = network()
    before = state(net)
    reinitialise(net, ["layer2"], 0, reinit_bn=False)
    blocks = {"layer2.0.conv1.weight", "layer2.0.conv2.weight", "layer2.0.shortcut.0.weight"}
    assert changed(net, before) == blocks
    reinitialise(net, ["logits"], 0, reinit_bn=False)
    assert changed(net, before) == blocks | {"linear.weight", "linear.bias"}


def test_batch_norms_are_forgotten_where_asked() -> None:
    net = network()
    with torch.no_grad():
        net.layer1[0].bn1.weight.uniform_()
    reinitialise(net, ["layer1"], 0, reinit_bn=True)
    assert same(state(net.layer1[0].bn1), state(nn.BatchNorm2d(4)))
    assert not net.bn1.running_mean.eq(0).any()  # of the stem, which was not chosen


def test_a_part_gets_the_same_draw_in_every_set_and_another_by_seed() -> None:
    alone, among, other = network(), network(), network()
    reinitialise(alone, ["layer3"], 0, reinit_bn=False)
    reinitialise(among, ["layer2", "layer3"], 0, reinit_bn=False)
    reinitialise(other, ["layer3"], 1, reinit_bn=False)
    assert same(state(alone.layer3), state(among.layer3))
    assert not torch.equal(alone.layer3[0].conv1.weight, other.layer3[0].conv1.weight)


def test_draws_have_the_released_distributions() -> None:
    torch.manual_seed(0)
    entry = catalogue.entry("models", "small_resnet")
    net = entry.MODEL(entry.Hyper(width=16), 1, 10)
    reinitialise(net, net.updatable(), 0, reinit_bn=False)
    weight = net.layer4[0].conv1.weight.detach()
    bound = (6 / (9 * weight.shape[0])) ** 0.5  # uniform with variance 2 / fan_out
    assert 0.99 * bound < weight.abs().max() <= bound
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert float(net.linear.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert not net.linear.bias.any()
