"""FMN and DDN against an independent implementation, foolbox's, and against what can be computed by hand."""

import foolbox
import pytest
import torch
from torch import Tensor, nn

from cure.adversarial.minimum_norm import ddn, fmn
from cure.core.attack import distance


@pytest.fixture
def net(make_net) -> nn.Module:
    net = make_net(classes=10, width=8, dtype=torch.float32).eval().requires_grad_(False)
    net.linear.bias -= net(images()).mean(0)
    return net


def images() -> Tensor:
    return torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def ours(net: nn.Module, norm: str) -> Tensor:
    x, y = images(), net(images()).argmax(1)
    search = {"linf": lambda: fmn(net, x, y, steps=100, step=1.0, gamma=0.05)}
    search["l2"] = lambda: ddn(net, x, y, steps=100, step=1.0, gamma=0.05, radius=1.0)
    return search[norm]()


def theirs(net: nn.Module, norm: str) -> Tensor:
    attack = {"linf": foolbox.attacks.LInfFMNAttack(steps=100), "l2": foolbox.attacks.DDNAttack(steps=100)}[norm]
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    _, x_adv, success = attack(model, images(), net(images()).argmax(1), epsilons=None)
    assert success.all()
    return x_adv


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_finds_what_foolbox_finds(net, norm) -> None:
    here, there = (distance(found, images(), norm) for found in (ours(net, norm), theirs(net, norm)))
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-6)
    assert 0 < here.min() < here.max()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_it_finds_is_adversarial_and_an_image(net, norm) -> None:
    x_adv = ours(net, norm)
    assert (net(x_adv).argmax(1) != net(images()).argmax(1)).all()
    assert 0 <= x_adv.min() <= x_adv.max() <= 1


class Plane(nn.Module):
    """Two classes divided by <w, x> = b; the distance to it is |<w, x> - b| / ||w||, in the dual norm of w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.linspace(-1, 2, 16)

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1) @ self.w - 4.0
        return torch.stack([-value, value], 1)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_of_a_linear_network_it_finds_the_exact_distance(norm, dual) -> None:
    plane, x = Plane(), torch.full((3, 1, 4, 4), 0.5) + torch.tensor([-0.1, 0.1, 0.05])[:, None, None, None]
    y = plane(x).argmax(1)
    exact = (x.flatten(1) @ plane.w - 4.0).abs() / plane.w.norm(p=dual)
    search = {"linf": lambda: fmn(plane, x, y, steps=500, step=1.0, gamma=0.05)}
    search["l2"] = lambda: ddn(plane, x, y, steps=500, step=1.0, gamma=0.05, radius=1.0)
    found = distance(search[norm](), x, norm)
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0)
    assert (found >= exact - 1e-6).all()


def test_where_nothing_is_adversarial_the_image_comes_back() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.flatten(1).sum(1) * 0 + 1, x.flatten(1).sum(1) * 0], 1)

    x, y = images(), torch.zeros(40, dtype=torch.long)
    assert torch.equal(fmn(Constant(), x, y, steps=3, step=1.0, gamma=0.05), x)
    assert torch.equal(ddn(Constant(), x, y, steps=3, step=1.0, gamma=0.05, radius=1.0), x)
