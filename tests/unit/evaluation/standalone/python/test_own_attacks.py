"""Attacks of a caller's own: what they get, what they may return, and what their column counts."""

import re

import pytest
import torch
import torch.nn.functional as F

from cure import evaluate
from cure.errors import UserError
from cure.evaluation.standalone.plan import opened, plan, published
from cure.evaluation.standalone.python.own_attacks import CheckedAttack, with_own_attacks
from cure.settings.sections import L2Threat, Threat

FEW = slice(0, 20)
EPS = 38 / 255


def sign_step(net, x, y):
    """FGSM from the image itself."""
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(x), y, reduction="sum"), x)
    return (x + EPS * gradient.sign()).clamp(0, 1)


def evaluated(net, test_images, attacks, **how):
    return evaluate(net, test_images[0][FEW], test_images[1][FEW], attacks=attacks, eps="38/255", batch=8, **how)


@pytest.fixture(scope="module")
def found(trained, test_images):
    return evaluated(trained, test_images, ["clean", {"mine": sign_step}, "fgsm"])


def test_the_column_counts_what_the_attack_breaks(found, trained, test_images):
    x, y = test_images[0][FEW].float() / 255, test_images[1][FEW]
    clean = trained(x).argmax(1) == y
    robust = clean & (trained(sign_step(trained, x.clone(), y)).argmax(1) == y)
    assert found.result.outcomes["mine"] == "".join("01"[int(hit)] for hit in robust)
    assert 0 < found.accuracy("mine") < found.accuracy("clean")
    assert list(found.result.outcomes) == ["clean", "mine", "fgsm", "worst"]


def test_it_counts_in_the_worst_case(trained, test_images):
    alone = evaluated(trained, test_images, {"mine": sign_step})
    assert list(alone.result.outcomes) == ["clean", "mine", "worst"]
    assert alone.accuracy("worst") <= alone.accuracy("mine")
    assert any(line.name == "far" for line in alone.masking)


def test_it_sees_the_images_that_are_still_right_and_may_change_its_own_copy(trained, test_images):
    seen = []

    def attack(net, x, y):
        seen.append(len(y))
        assert bool((net(x).argmax(1) == y).all())
        assert not any(weight.requires_grad for weight in net.parameters())
        return x.zero_().add_(1).mul_(0) + images[len(seen) - 1]

    right = trained(test_images[0][FEW].float() / 255).argmax(1) == test_images[1][FEW]
    images = (test_images[0][FEW].float() / 255)[right].split(8)
    lazy = evaluated(trained, test_images, {"mine": attack})
    assert sum(seen) == int(right.sum())
    assert lazy.result.outcomes["mine"] == lazy.result.outcomes["clean"]


def test_its_work_is_not_taken_from_an_earlier_run(trained, test_images, tmp_path):
    def lazy(net, x, y):
        return x

    first = evaluated(trained, test_images, {"mine": lazy}, out=tmp_path)
    again = evaluated(trained, test_images, {"mine": sign_step}, out=tmp_path)
    assert again.accuracy("mine") < first.accuracy("mine")


def test_random_numbers_are_those_of_the_seed(trained, test_images):
    def noise(net, x, y):
        return (x + EPS * torch.randn_like(x).sign()).clamp(0, 1)

    texts = [
        evaluated(trained, test_images, {"mine": noise}, seed=seed).columns["mine"].outcome.x_adv for seed in (1, 1, 2)
    ]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


WRONG = {
    "far": (
        lambda net, x, y: (x + 0.2).clamp(0, 1),
        "moves 20 of 20 images by up to 0.2 in Linf, but eps is 0.1; project",
    ),
    "dark": (lambda net, x, y: x - 0.1, "returns values from -0.1 to 0.9; needed: images in [0, 1]"),
    "nan": (lambda net, x, y: x * float("nan"), "returns values from nan to nan"),
    "labels": (lambda net, x, y: y, "returns torch.int64 (20,); needed: floats (20, 1, 8, 8)"),
    "one": (lambda net, x, y: x[:1], "returns torch.float32 (1, 1, 8, 8); needed: floats (20, 1, 8, 8)"),
    "nothing": (lambda net, x, y: None, "returns NoneType; needed: floats"),
    "array": (lambda net, x, y: x.numpy(), "returns ndarray; needed: floats"),
}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_adversarial_image_is_refused(make_batch, kind):
    attack, said = WRONG[kind]
    batch = make_batch(20, size=8, dtype=torch.float32)
    batch.x.copy_(torch.linspace(0, 1, 64).mul(10).round().div(10).reshape(1, 1, 8, 8).expand(20, -1, -1, -1))
    with pytest.raises(UserError, match=re.escape(f"attacks: mine {said}")):
        CheckedAttack("mine", attack, Threat(eps=0.1, step=1))(torch.nn.Identity(), batch)


def test_rounding_is_no_way_out_of_the_ball(make_batch):
    batch = make_batch(4, dtype=torch.float32)
    found = CheckedAttack("mine", lambda net, x, y: (x.double() - 5e-7).requires_grad_(), Threat(eps=1e-9, step=1))(
        torch.nn.Identity(), batch
    )
    assert (found.dtype, found.requires_grad, float(found.min()) >= 0) == (torch.float32, False, True)


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("name", ["pgd20", "aa", "far", "square", "transfer", "min_l2"])
def test_a_name_with_a_meaning_is_refused(name):
    known = plan(opened(published(), "", ""), ["clean"], 10, {})
    with pytest.raises(UserError, match=f"attacks: {name} is an attack of cure; give yours another name, such as my_"):
        with_own_attacks(known, {name: sign_step}, [name])


def test_beside_an_attack_on_random_networks_it_is_judged_as_carefully():
    known = plan(opened(published(), "", ""), ["aa_rand"], 10, {})
    both = with_own_attacks(known, {"mine": sign_step}, ["mine", "aa_rand"])
    assert {name: one.passes for name, one in both.attack_sequences.items()} == {"mine": 20, "aa_rand": 20}


@pytest.mark.reliability("wrong inputs")
def test_the_ball_is_that_of_the_norm(make_batch):
    batch = make_batch(4, size=8, dtype=torch.float32)
    batch.x.fill_(0.5)
    net, whole = torch.nn.Identity(), L2Threat(eps=0.8, step=1)
    moved = CheckedAttack("mine", lambda net, x, y: x + 0.1, whole)(net, batch)  # by sqrt(64) 0.1 = 0.8
    assert float((moved - batch.x).flatten(1).norm(dim=1).max()) == pytest.approx(0.8)
    with pytest.raises(UserError, match=r"moves 4 of 4 images by up to 0\.88 in L2, but eps is 0\.8"):
        CheckedAttack("mine", lambda net, x, y: x + 0.11, whole)(net, batch)


def test_in_l2_its_images_count(trained, test_images):
    def bright(net, x, y):
        change = 1 - x
        return x + change * (2.5 / change.flatten(1).norm(dim=1).clamp(min=2.5))[:, None, None, None]

    x, y = test_images[0][FEW].float() / 255, test_images[1][FEW]
    found = evaluate(trained, x, y, norm="L2", eps=2.5, attacks={"mine": bright})
    robust = (trained(x).argmax(1) == y) & (trained(bright(trained, x, y)).argmax(1) == y)
    assert found.result.outcomes["mine"] == "".join("01"[int(hit)] for hit in robust)
    assert found.accuracy("mine") < found.accuracy("clean")
    assert found.result.norm == "l2"
