"""CKA against a plain n x n reference and its invariances."""

import pytest
import torch
from torch import Tensor

from cure.analyses.cka import cka, gram, hsic


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def similarity(a: Tensor, b: Tensor) -> float:
    """CKA of one batch."""
    k, m = gram(a)[None], gram(b)[None]
    return float(cka(hsic(k, m), hsic(k, k).diagonal(), hsic(m, m).diagonal()))


def reference(x: Tensor, y: Tensor) -> float:
    """HSIC_1 of Song et al. by sums over Gram matrices with an empty diagonal."""
    n = len(x)
    k, m = ((f.flatten(1) @ f.flatten(1).T).double().fill_diagonal_(0) for f in (x, y))
    trace = sum(k[i, j] * m[j, i] for i in range(n) for j in range(n))
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2))
    chained = sum(k[i, j] * m[j, q] for i in range(n) for j in range(n) for q in range(n))
    return float((trace + sums - 2 / (n - 2) * chained) / (n * (n - 3)))


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_it_is_the_unbiased_estimator_term_by_term(shift: float) -> None:
    x, y = draws(0, 9, 5) + shift, draws(1, 9, 2, 3, 3) - shift
    assert float(hsic(gram(x)[None], gram(y)[None])) == pytest.approx(reference(x, y), rel=1e-9)


def test_features_are_like_themselves() -> None:
    x = draws(0, 20, 7)
    assert similarity(x, x) == pytest.approx(1)


def test_rotations_scales_and_shifts_of_the_features_change_nothing() -> None:
    x, y = draws(0, 20, 6), draws(1, 20, 6) + draws(0, 20, 6)
    q, _ = torch.linalg.qr(draws(2, 6, 6))
    assert similarity(3.7 * x @ q + 5, y) == pytest.approx(similarity(x, y), rel=1e-9)
    assert similarity(x @ torch.diag(torch.arange(1.0, 7.0, dtype=torch.float64)), y) != pytest.approx(similarity(x, y))


def test_independent_features_are_unlike_each_other_however_wide() -> None:
    # the biased estimator finds 0.5 and more here
    found = [similarity(draws(i, 32, 200), draws(1000 + i, 32, 200)) for i in range(20)]
    assert abs(sum(found) / len(found)) < 0.02


def test_every_pair_is_compared() -> None:
    features = [draws(i, 12, 4) for i in range(3)]
    grams = torch.stack([gram(f) for f in features])
    own = hsic(grams, grams).diagonal()
    table = cka(hsic(grams, grams), own, own)
    for i, a in enumerate(features):
        for j, b in enumerate(features):
            assert float(table[i, j]) == pytest.approx(similarity(a, b))
