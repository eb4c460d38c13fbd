"""PGD in the L2 ball, beside a plain formula in double precision, and at its edges."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cure.adversarial.pgd import ce_objective, misclassified, pgd
from cure.adversarial.pgd_l2 import direction, pgd_in_ball, pgd_l2, projected, start
from cure.core.attack import distance
from cure.core.noise import PerImage, Stream
from cure.settings.base import L2Search, Search


def search(**changes) -> L2Search:
    return L2Search(**({"eps": 0.5, "step": 0.1, "steps": 7, "start": "zero", "clip_start": True} | changes))


def lengths(x_adv: Tensor, x: Tensor) -> Tensor:
    return distance(x_adv, x, "l2")


def by_the_formula(net: nn.Module, x: Tensor, y: Tensor, how: L2Search) -> Tensor:
    """Image by image, as the docstring's equation reads."""
    found = []
    for one, label in zip(x, y, strict=True):
        x_k = one.clone()
        for _ in range(how.steps):
            x_k = x_k.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(net(x_k[None]), label[None]), x_k)
            v = x_k.detach() + how.step * g / (g**2).sum().sqrt()
            far = ((v - one) ** 2).sum().sqrt()
            x_k = (v if far <= how.eps else one + how.eps * (v - one) / far).clamp(0, 1)
        found.append(x_k)
    return torch.stack(found)


@pytest.mark.parametrize("changes", [{}, {"eps": 0.15}, {"eps": 100.0, "step": 3.0}])
def test_it_is_the_formula(net, batch, changes: dict) -> None:
    how = search(**changes)
    torch.testing.assert_close(
        pgd_l2(net, batch, how, ce_objective), by_the_formula(net.eval(), batch.x, batch.y, how), rtol=0, atol=1e-9
    )


def test_it_ends_on_the_sphere_where_the_border_of_images_is_far(net, batch) -> None:
    batch.x[:] = 0.5
    x_adv = pgd_l2(net, batch, search(step=0.3), ce_objective)
    torch.testing.assert_close(lengths(x_adv, batch.x), torch.full((6,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("begin", ["zero", "uniform"])
@pytest.mark.parametrize("clip_start", [True, False])
@pytest.mark.parametrize("steps", [1, 7])
def test_images_stay_in_the_ball_and_in_the_unit_cube(net, batch, begin: str, clip_start: bool, steps: int) -> None:
    x_adv = pgd_l2(net, batch, search(start=begin, clip_start=clip_start, steps=steps), ce_objective)
    assert lengths(x_adv, batch.x).max() <= 0.5 + 1e-12
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert (lengths(x_adv, batch.x) > 0).all()


def test_a_zero_gradient_leaves_an_image_where_it_is(batch) -> None:
    flat = nn.Linear(36, 4).double()
    flat.weight.data.zero_()
    x_adv = pgd_l2(nn.Sequential(nn.Flatten(), flat), batch, search(), ce_objective)
    assert torch.equal(x_adv, batch.x)


def test_a_gradient_whose_squares_vanish_has_its_direction() -> None:
    g = torch.tensor([3e-30, 4e-30, 0.0, 0.0]).view(1, 1, 2, 2)
    assert float(g.norm()) == 0
    torch.testing.assert_close(direction(g).flatten(), torch.tensor([0.6, 0.8, 0.0, 0.0]))


def test_a_radius_beyond_all_images_bounds_nothing_but_the_unit_cube() -> None:
    x, v = torch.rand(3, 1, 4, 4), torch.randn(3, 1, 4, 4) * 9
    assert torch.equal(projected(v, x, 1e6), (x + (v - x)).clamp(0, 1))
    assert torch.equal(projected(x, x, 0.5), x)


def test_the_start_is_uniform_in_the_ball() -> None:
    # of d values, the share within r of a ball of radius eps is (r / eps)^d, and no direction is preferred
    x = torch.full((20_000, 1, 2, 2), 0.5)
    x_adv = start(x, search(eps=0.2, start="uniform"), Stream(0, torch.device("cpu")))
    reach = lengths(x_adv, x) / 0.2
    assert reach.max() <= 1 + 1e-6
    for share in (0.25, 0.5, 0.75):
        assert float((reach <= share ** (1 / 4)).float().mean()) == pytest.approx(share, abs=0.015)
    moved = (x_adv - x).flatten(1)
    torch.testing.assert_close(moved.T @ moved / len(x), 0.04 / 6 * torch.eye(4), rtol=0, atol=3e-4)


def test_a_start_belongs_to_its_image(batch) -> None:
    how, rows = search(start="uniform"), torch.tensor([4, 1])
    whole = start(batch.x, how, PerImage(0, torch.arange(6)))
    assert torch.equal(start(batch.x[rows], how, PerImage(0, rows)), whole[rows])


def test_an_image_ends_at_its_first_adversarial_iterate(net, batch) -> None:
    net.eval()
    paths, how = [batch.x], search(step=0.05)
    for steps in range(1, how.steps + 1):
        paths.append(pgd_l2(net, batch, search(step=0.05, steps=steps), ce_objective))
    x_adv = pgd_l2(net, batch, how, ce_objective, stop=misclassified)
    seen = set()
    for i in range(6):
        wrong = [k for k, x in enumerate(paths[:-1]) if int(net(x)[i].argmax()) != int(batch.y[i])]
        ends = wrong[0] if wrong else how.steps
        assert torch.equal(x_adv[i], paths[ends][i])
        seen.add(ends)
    assert len(seen) > 1


def test_the_search_decides_the_norm(net, batch) -> None:
    flat = Search(eps=0.1, step=0.03, steps=3, start="zero", clip_start=True)
    assert torch.equal(pgd_in_ball(net, batch, flat, ce_objective), pgd(net, batch, flat, ce_objective))
    assert torch.equal(pgd_in_ball(net, batch, search(), ce_objective), pgd_l2(net, batch, search(), ce_objective))
