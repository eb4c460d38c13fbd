from types import ModuleType

import pytest
import torch

from cure import catalogue
from cure.core.ascent import ascend, error, wrongness
from cure.core.noise import PerImage

HOW = {"eps": 0.1, "step": 0.03, "steps": 6, "start": "uniform", "clip_start": True}
OBJECTIVES = {"pgd": error, "cw": wrongness}


@pytest.fixture(params=catalogue.names("attacks"))
def entry(request: pytest.FixtureRequest) -> ModuleType:
    return catalogue.entry("attacks", request.param)


def attacked(entry: ModuleType, net, batch, rows=None, **changes) -> torch.Tensor:
    """The images of an evaluation: eval mode, noise per image."""
    rows = batch.index if rows is None else rows
    batch.x, batch.y, batch.index, batch.noise = batch.x[rows], batch.y[rows], rows, PerImage(0, rows)
    return entry.attack(net.eval(), batch, entry.Hyper(**(HOW | changes)))


def test_images_stay_in_the_ball_and_in_the_unit_cube(entry: ModuleType, net, batch) -> None:
    x_adv = attacked(entry, net, batch)
    assert 0 < (x_adv - batch.x).abs().max() <= 0.1 + 1e-12
    assert 0 <= x_adv.min() <= x_adv.max() <= 1


def test_neither_weights_nor_statistics_nor_gradients_change(entry: ModuleType, net, batch) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x_adv = attacked(entry, net, batch)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    assert not x_adv.requires_grad


def test_an_image_is_attacked_alike_in_any_batch_and_order(entry: ModuleType, net, make_batch) -> None:
    whole, rows = attacked(entry, net, make_batch()), torch.tensor([5, 0, 3])
    torch.testing.assert_close(attacked(entry, net, make_batch(), rows), whole[rows], rtol=0, atol=1e-12)


def test_it_repeats_itself(entry: ModuleType, net, make_batch) -> None:
    assert torch.equal(attacked(entry, net, make_batch()), attacked(entry, net, make_batch()))


def test_the_loss_of_the_network_grows(entry: ModuleType, net, batch) -> None:
    x_adv = attacked(entry, net, batch)
    true = batch.y[:, None]
    assert (net(x_adv).log_softmax(1).gather(1, true) < net(batch.x).log_softmax(1).gather(1, true)).all()


def test_unknown_settings_are_refused(entry: ModuleType) -> None:
    with pytest.raises(ValueError, match="restarts"):
        entry.Hyper(**HOW, restarts=2)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_ascends_its_own_objective(name: str, net, make_batch) -> None:
    batch = make_batch()
    batch.noise = PerImage(0, batch.index)
    entry = catalogue.entry("attacks", name)
    wanted = ascend(net.eval(), batch, entry.Hyper(**HOW), OBJECTIVES[name])
    assert torch.equal(attacked(entry, net, make_batch()), wanted)
