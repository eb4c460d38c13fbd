import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from cure import catalogue
from cure.methods.parts import base_losses
from cure.nn.losses import cross_entropy, kl, margin


def logits(n: int = 7, classes: int = 5, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, classes, dtype=torch.float64, generator=draws)


LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 2])


def test_cross_entropy_is_minus_log_probability_per_example() -> None:
    z = logits()
    by_hand = -(z.exp() / z.exp().sum(dim=1, keepdim=True))[torch.arange(7), LABELS].log()
    torch.testing.assert_close(cross_entropy(z, LABELS), by_hand)


def test_cross_entropy_gradient_is_probability_minus_indicator() -> None:
    z = logits().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(z, LABELS).mean(), z)
    torch.testing.assert_close(g, (z.softmax(1) - F.one_hot(LABELS, 5)) / 7)


def test_kl_is_the_sum_over_classes_of_p_log_p_over_q() -> None:
    a, b = logits(seed=1), logits(seed=2)
    p, q = a.softmax(1), b.softmax(1)
    torch.testing.assert_close(kl(a, b), (p * (p / q).log()).sum(1))


def test_mean_kl_is_divided_by_the_batch_and_not_by_the_classes() -> None:
    a, b = logits(seed=1), logits(seed=2)
    torch.testing.assert_close(kl(a, b).mean(), F.kl_div(b.log_softmax(1), a.softmax(1), reduction="batchmean"))


def test_kl_of_equal_logits_is_exactly_zero() -> None:
    z = logits()
    assert torch.equal(kl(z, z.clone()), torch.zeros(7, dtype=torch.float64))


@given(st.integers(0, 10_000), st.floats(0.01, 20))
def test_kl_is_not_negative(seed: int, scale: float) -> None:
    assert (kl(logits(seed=seed, scale=scale), logits(seed=seed + 1, scale=scale)) >= -1e-12).all()


def test_kl_is_not_symmetric() -> None:
    a, b = logits(seed=1), logits(seed=2)
    assert not torch.allclose(kl(a, b), kl(b, a), rtol=0.01)


@pytest.mark.parametrize("loss", [lambda z: cross_entropy(z, LABELS), lambda z: margin(z, LABELS)])
def test_shifting_all_logits_changes_nothing(loss) -> None:
    z = logits()
    torch.testing.assert_close(loss(z + 4.0), loss(z))


def test_kl_ignores_a_shift_of_either_argument() -> None:
    a, b = logits(seed=1), logits(seed=2)
    torch.testing.assert_close(kl(a + 3.0, b - 2.0), kl(a, b))


def test_trades_gradient_in_the_adversarial_logits_is_beta_times_q_minus_p() -> None:
    beta = 6.0
    clean, adv = logits(seed=1), logits(seed=2).requires_grad_()
    (g,) = torch.autograd.grad((cross_entropy(clean, LABELS) + beta * kl(clean, adv)).mean(), adv)
    torch.testing.assert_close(g, beta * (adv.softmax(1) - clean.softmax(1)) / 7)


def test_kl_gradient_in_the_clean_logits_has_its_closed_form() -> None:
    clean, adv = logits(seed=1).requires_grad_(), logits(seed=2)
    (g,) = torch.autograd.grad(kl(clean, adv).mean(), clean)
    p, q = clean.softmax(1), adv.softmax(1)
    ratio = (p / q).log()
    torch.testing.assert_close(g, p * (ratio - (p * ratio).sum(1, keepdim=True)) / 7)


def test_trades_gradient_in_the_clean_logits_adds_the_cross_entropy() -> None:
    beta = 6.0
    clean, adv = logits(seed=1).requires_grad_(), logits(seed=2)
    (both,) = torch.autograd.grad((cross_entropy(clean, LABELS) + beta * kl(clean, adv)).mean(), clean)
    (divergence,) = torch.autograd.grad(kl(clean, adv).mean(), clean)
    torch.testing.assert_close(both, (clean.softmax(1) - F.one_hot(LABELS, 5)) / 7 + beta * divergence)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_losses_and_gradients_of_saturated_logits_are_finite(dtype: torch.dtype) -> None:
    a = torch.tensor([[60.0, -60.0, 0.0], [-60.0, 60.0, 60.0]], dtype=dtype, requires_grad=True)
    b = torch.tensor([[-60.0, 60.0, 0.0], [60.0, -60.0, -60.0]], dtype=dtype, requires_grad=True)
    y = torch.tensor([1, 0])
    for value in (cross_entropy(a, y), kl(a, b), kl(b, a), margin(a, y)):
        assert value.isfinite().all()
        found = torch.autograd.grad(value.sum(), (a, b), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in found)


def test_margin_of_known_logits() -> None:
    z = torch.tensor([[1.0, 5.0, 3.0], [1.0, 5.0, 3.0], [2.0, 2.0, 0.0]])
    assert margin(z, torch.tensor([1, 0, 0])).tolist() == [-2.0, 4.0, 0.0]


def test_margin_is_the_best_wrong_class_minus_the_label() -> None:
    z = logits()
    wrong = [max(float(z[i, k]) for k in range(5) if k != y) - float(z[i, y]) for i, y in enumerate(LABELS.tolist())]
    assert margin(z, LABELS).tolist() == wrong


def test_margin_is_positive_exactly_where_the_prediction_is_wrong() -> None:
    z = logits(scale=1.0)
    assert torch.equal(margin(z, LABELS) > 0, z.argmax(1) != LABELS)


def test_margin_gradient_pulls_up_the_best_wrong_class_alone() -> None:
    z = torch.tensor([[1.0, 5.0, 3.0]], requires_grad=True)
    (g,) = torch.autograd.grad(margin(z, torch.tensor([1])).sum(), z)
    assert g.tolist() == [[0.0, -1.0, 1.0]]


def test_marts_gradient_in_the_adversarial_logits_has_its_closed_form() -> None:
    lam = 5.0
    clean, adv = logits(seed=1), logits(seed=2).requires_grad_()
    terms = base_losses.mart(clean, adv, LABELS, lam)
    (g,) = torch.autograd.grad(sum(w * v.sum() for w, v in terms.values()), adv)
    p, q = clean.softmax(1), adv.detach().softmax(1)
    true = F.one_hot(LABELS, 5)
    wrong, best = (q * (1 - true)).max(dim=1, keepdim=True)
    boosted = q - true + wrong / (1.0001 - wrong) * (F.one_hot(best[:, 0], 5) - q)
    trust = 1.0000001 - (p * true).sum(dim=1, keepdim=True)
    torch.testing.assert_close(g, boosted + lam * trust * (q - p))


def test_marts_gradient_in_the_clean_logits_has_its_closed_form() -> None:
    clean, adv = logits(seed=1).requires_grad_(), logits(seed=2)
    _, value = base_losses.mart(clean, adv, LABELS, 1.0)["robust"]
    (g,) = torch.autograd.grad(value.sum(), clean)
    p, q = clean.detach().softmax(1), adv.softmax(1)
    true = F.one_hot(LABELS, 5)
    py, ratio = (p * true).sum(dim=1, keepdim=True), (p / q).log()
    divergence = (p * ratio).sum(dim=1, keepdim=True)
    torch.testing.assert_close(g, -py * (true - p) * divergence + (1.0000001 - py) * p * (ratio - divergence))


def test_squeeze_trainings_gradients_pull_each_extreme_halfway_to_the_other() -> None:
    discrepancy = catalogue.entry("methods", "st_at").discrepancy
    low, high = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    g_low, g_high = torch.autograd.grad(discrepancy(low, high).sum(), (low, high))
    apart = (high.softmax(1) - low.softmax(1)) / 2
    torch.testing.assert_close(g_low, -apart)
    torch.testing.assert_close(g_high, apart)


@pytest.mark.parametrize("base", sorted(base_losses.BASES))
def test_wrapped_losses_of_saturated_logits_are_finite(base: str) -> None:
    a = torch.tensor([[60.0, -60.0, 0.0], [-60.0, 60.0, 60.0]], requires_grad=True)
    b = torch.tensor([[-60.0, 60.0, 0.0], [60.0, -60.0, -60.0]], requires_grad=True)
    terms = base_losses.BASES[base].terms(a, b, torch.tensor([1, 0]), 6.0)
    value = torch.stack([w * v for w, v in terms.values()])
    assert value.isfinite().all()
    found = torch.autograd.grad(value.sum(), (a, b), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in found)
