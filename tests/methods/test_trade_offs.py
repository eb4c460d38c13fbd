"""HAT, LBGAT, Generalist and IKL-AT over more than the one step that their vectors hold."""

import copy

import pytest
import torch

from cure import catalogue
from cure.core.method import Batch, Networks, TrainingPosition
from cure.core.noise import Stream
from cure.errors import UserError
from cure.methods.parts.priors import ClassPriors, weighted_differences
from cure.nn.averaging import numbers
from cure.settings.base import between
from tests.support.method_harness import MethodHarness, shipped


def batch(position: TrainingPosition, n: int = 12) -> Batch:
    draws = torch.Generator().manual_seed(3)
    x, y = torch.rand(n, 1, 6, 6, generator=draws, dtype=torch.float64), torch.arange(n) % 3
    return Batch(x, y, torch.arange(n), Stream(0, torch.device("cpu")), position)


def rig(name: str, make_net, **changes) -> MethodHarness:
    entry = catalogue.entry("methods", name)
    return MethodHarness(entry.METHOD, shipped(name).model_copy(update=changes), make_net())


def test_the_closed_form_is_the_sum_over_pairs() -> None:
    n, a = torch.randn(2, 5, 4, dtype=torch.float64)
    s = torch.rand(5, 4, dtype=torch.float64)
    d = (n - a)[:, :, None] - (n - a)[:, None, :]
    pairs = (s[:, :, None] * s[:, None, :] * d.square()).sum(dim=(1, 2)) / 4
    torch.testing.assert_close(weighted_differences(n, a, s), pairs)


def test_priors_are_means_of_the_last_epoch_by_class(make_net) -> None:
    priors = ClassPriors(make_net())
    k = len(priors.rows)
    assert torch.equal(priors.rows, torch.full((k, k), 1 / k))
    z, y = torch.randn(6, k), torch.tensor([0, 0, 1, 0, 1, 1])
    priors.collect(z[:4], y[:4], 4.0)
    priors.collect(z[4:], y[4:], 4.0)
    assert torch.equal(priors.rows, torch.full((k, k), 1 / k))  # of this epoch nothing counts yet
    priors.turn()
    for c in (0, 1):
        torch.testing.assert_close(priors.rows[c], (z[y == c] / 4).softmax(dim=1).mean(dim=0))
    assert torch.equal(priors.rows[2:], torch.full((k - 2, k), 1 / k))  # no image of these
    torch.testing.assert_close(priors.rows.sum(dim=1), torch.ones(k))
    assert not priors.sums.any()


def test_an_epoch_of_ikl_has_the_priors_of_the_one_before(make_net) -> None:
    take, wanted = rig("ikl_at", make_net), ClassPriors(make_net()).rows
    method, hyper = take.take.method, take.take.hyper
    for epoch in (1, 2, 3):
        method.before_epoch(take.nets, epoch, [], hyper)
        torch.testing.assert_close(take.nets.priors.rows, wanted)
        take.step(seen := batch(TrainingPosition(epoch, epoch - 1, epochs=3)))
        p = (seen.points["clean_logits"] / hyper.temperature).softmax(dim=1)
        wanted = torch.stack([p[seen.y == c].mean(dim=0) for c in range(3)]).float()


@pytest.mark.reliability("wrong inputs")
def test_priors_of_a_network_without_classes_are_refused() -> None:
    with pytest.raises(UserError, match="class priors: the network has no linear layer"):
        ClassPriors(torch.nn.Conv2d(1, 3, 1))


@pytest.mark.reliability("wrong inputs")
def test_priors_of_another_layer_than_the_classifier_are_refused() -> None:
    priors = ClassPriors(torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Linear(4, 5)))
    with pytest.raises(UserError, match="has 5 outputs, but there are 3 logits; let the network register its class"):
        priors.of(torch.zeros(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize(("ramp", "share"), [(True, 0.25), (False, 1.0)])
def test_ikls_radius_grows_with_the_epoch(make_net, ramp: bool, share: float) -> None:
    take, seen = rig("ikl_at", make_net, ramp=ramp), batch(TrainingPosition(5, epochs=20))
    take.step(seen)
    eps = take.take.hyper.attack.eps
    assert 0.9 * share * eps < (seen.x_adv - seen.x).abs().max() <= share * eps + 1e-6


def test_generalists_hand_over_stops_and_begins_again(make_net) -> None:
    begin, every = 4, 3
    take = rig("generalist", make_net, begin=begin, hand_over_every=every)
    nets, handed = take.nets, []
    for epoch in range(1, 9):
        take.step(batch(TrainingPosition(epoch, epoch - 1)))
        pairs = [zip(numbers(nets[name]), numbers(nets.mixed), strict=True) for name in ("student", "natural_expert")]
        if all(torch.equal(a, b) for pair in pairs for a, b in pair):
            handed.append(epoch)
    assert handed == [4, 7]


def test_generalists_beta_moves_between_its_epochs() -> None:
    assert [between({4: 1.0, 8: 0.2}, epoch) for epoch in (1, 4, 6, 8, 9)] == pytest.approx([1, 1, 0.6, 0.2, 0.2])


def test_lbgats_natural_network_does_not_depend_on_beta(make_net) -> None:
    found = []
    for beta in (0.0, 6.0):
        take = rig("lbgat", make_net, beta=beta)
        torch.manual_seed(0)
        take.nets.natural_peer.load_state_dict(copy.deepcopy(make_net(1)).state_dict())
        take.step(batch(TrainingPosition()))
        found.append([w.grad for w in take.nets.natural_peer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_lbgats_natural_network_begins_with_weights_of_its_own(make_net) -> None:
    nets = rig("lbgat", make_net).nets
    both = zip(numbers(nets.student), numbers(nets.natural_peer), strict=True)
    assert not all(torch.equal(a, b) for a, b in both)


def test_lbgat_0_holds_no_graph_of_the_clean_forward(make_net) -> None:
    take, graphs = rig("lbgat", make_net, beta=0.0), []

    def look(module, _, out) -> None:
        if module.training:
            graphs.append(out.requires_grad)

    take.nets.student.register_forward_hook(look)
    take.step(batch(TrainingPosition()))
    assert graphs == [True, False]


def test_hat_labels_helpers_by_the_natural_networks_view_of_the_adversarial_image(make_net) -> None:
    take, seen = rig("hat", make_net, h=3.0), batch(TrainingPosition())
    take.step(seen)
    assert isinstance(take.nets, Networks)
    torch.testing.assert_close(seen.points["helper"], seen.x + 3 * (seen.x_adv - seen.x))
    assert torch.equal(seen.points["helper_label"], take.nets.natural(seen.x_adv).argmax(dim=1))
    assert seen.points["helper"].min() < 0 or seen.points["helper"].max() > 1  # not clipped
