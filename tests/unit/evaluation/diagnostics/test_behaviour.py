"""What a network does, beside its weights and the text of its modules."""

import copy

import torch

from cure.evaluation.diagnostics.behaviour import alike, behaviour
from tests.support.networks import Behind

SHAPE, CPU = (1, 8, 8), torch.device("cpu")


def test_equal_networks_are_alike_and_left_as_they_were(make_net) -> None:
    net = make_net(dtype=torch.float32).train()
    before = {key: t.clone() for key, t in net.state_dict().items()}
    found = behaviour(net, SHAPE, CPU)
    assert found
    assert alike(found, behaviour(copy.deepcopy(net), SHAPE, CPU))
    assert net.training
    assert all(torch.equal(t, before[key]) for key, t in net.state_dict().items())


def test_another_forward_is_another_network(make_net) -> None:
    net = make_net(dtype=torch.float32)
    plain = behaviour(Behind(net, lambda net, x: net(x)), SHAPE, CPU)
    for way in (
        lambda net, x: net(0.9 * x),
        lambda net, x: net((x * 16).round() / 16),
        lambda net, x: net(x) / 2,
        lambda net, x: net(x + 0.5 * (x - x.detach())),  # equal logits, other gradients
        lambda net, x: net(x.detach()),
    ):
        assert not alike(plain, behaviour(Behind(net, way), SHAPE, CPU))


def test_a_network_that_draws_at_random_from_a_source_of_its_own_or_fails_says_nothing(make_net) -> None:
    net, draws = make_net(dtype=torch.float32), torch.Generator()
    noise = Behind(net, lambda net, x: net(x + torch.rand(x.shape, generator=draws)))
    assert behaviour(noise, SHAPE, CPU) == []
    assert behaviour(net, (7, 8, 8), CPU) == []
    assert behaviour(Behind(net, lambda net, x: net(x + torch.rand_like(x))), SHAPE, CPU)
