import pytest
import torch

from cure.nn.averaging import average_, snapshot, warmed


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999, 1.0])
def test_parameters_move_towards_the_network(make_net, decay: float) -> None:
    average, net = make_net(1), make_net(2)
    expected = [decay * a + (1 - decay) * w for a, w in zip(average.parameters(), net.parameters(), strict=True)]
    average_(average, net, decay)
    for found, wanted in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("decay", "source"), [(1.0, 1), (0.0, 2)])
def test_the_extremes_are_exact(make_net, decay: float, source: int) -> None:
    average, net = make_net(1), make_net(2)
    average_(average, net, decay)
    pairs = zip(average.parameters(), make_net(source).parameters(), strict=True)
    assert all(torch.equal(found, wanted) for found, wanted in pairs)


def test_buffers_and_the_network_stay(make_net) -> None:
    average, net = make_net(1), make_net(2)
    buffers, weights = [b.clone() for b in average.buffers()], [w.detach().clone() for w in net.parameters()]
    average_(average, net, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(average.buffers(), buffers, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), weights, strict=True))


def test_no_memory_is_shared_and_no_graph_recorded(make_net) -> None:
    average, net = make_net(1), make_net(2)
    average_(average, net, 0.0)
    for a, w in zip(average.parameters(), net.parameters(), strict=True):
        assert a.data_ptr() != w.data_ptr()
        assert a.grad_fn is None


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.0), (1, 0.5), (3, 0.75), (9, 0.9), (998, 1 - 1 / 999), (999, 0.999), (10**6, 0.999)]
)
def test_warm_up_reaches_the_decay_when_one_over_its_complement_steps_are_done(step: int, decay: float) -> None:
    assert warmed(0.999, step) == pytest.approx(decay, abs=1e-15)


def test_snapshots_of_ar_at_are_the_nineteen_that_its_authors_take() -> None:
    due = [step for step in range(100 * 391) if snapshot(step, 391, begin=76, every=500) is not None]
    assert len(due) == 19
    assert divmod(due[0], 391) == (75, 284)  # the 76th epoch, batch 284 from 0
    epochs = [1 + step // 391 for step in due]
    assert [sum(lo <= e <= hi for e in epochs) for lo, hi in ((76, 76), (77, 91), (92, 100))] == [1, 11, 7]


@pytest.mark.parametrize(("begin", "every"), [(1, 1), (2, 3), (3, 5)])
def test_snapshots_add_up_to_their_plain_mean(make_net, begin: int, every: int) -> None:
    average, taken = make_net(0), []
    for step in range(20):
        net = make_net(step + 1)
        if (decay := snapshot(step, 5, begin, every)) is not None:
            average_(average, net, decay)
            taken.append([w.detach() for w in net.parameters()])
    for found, weights in zip(average.parameters(), zip(*taken, strict=True), strict=True):
        torch.testing.assert_close(found.detach(), torch.stack(weights).mean(dim=0))
