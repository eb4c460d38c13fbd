import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cure.nn.gradients import gradients, objective, separate

NAMES = ["a", "b", "c", "d"]


def problem(seed: int, factors: list[float]):
    """Four random scalar functions of three weights, one of which nothing depends on."""
    draws = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=draws)

    weights = {"w": nn.Parameter(normal(3, 4)), "v": nn.Parameter(normal(4)), "unused": nn.Parameter(normal(2))}
    hidden = (weights["w"] @ weights["v"]).tanh()
    values = [(hidden * normal(3)).sum() + (weights["v"] * normal(4)).square().sum() for _ in NAMES]
    return {name: (f, v) for name, f, v in zip(NAMES, factors, values, strict=True)}, weights


def plain(value: torch.Tensor, weights) -> dict[str, torch.Tensor]:
    found = torch.autograd.grad(value, list(weights.values()), retain_graph=True, allow_unused=True)
    return {n: torch.zeros_like(w) if g is None else g for (n, w), g in zip(weights.items(), found, strict=True)}


def assert_same(found, wanted) -> None:
    assert list(found) == list(wanted)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name])


factors = st.lists(st.sampled_from([0.0, 0.5, 1.0, -2.0]), min_size=4, max_size=4)


@given(st.integers(0, 1000), factors, st.sets(st.sampled_from(NAMES)))
def test_separate_equals_plain_differentiation(seed: int, weighting: list[float], apart: set[str]) -> None:
    means, weights = problem(seed, weighting)
    alone, total = separate(means, sorted(apart), weights)
    assert sorted(alone) == sorted(apart)
    for name in apart:
        assert_same(alone[name], plain(means[name][1], weights))
    assert_same(total, plain(sum(f * v for f, v in means.values()), weights))


@pytest.mark.parametrize(
    ("weighting", "apart", "count"),
    [
        ([1.0, 1.0, 1.0, 1.0], [], 1),
        ([1.0, 1.0, 1.0, 1.0], ["a"], 2),
        ([1.0, 1.0, 1.0, 1.0], ["a", "b"], 3),
        ([1.0, 1.0, 1.0, 1.0], NAMES, 4),
        ([1.0, 0.0, 1.0, 1.0], ["a", "b"], 3),  # b is looked at, not optimised
        ([1.0, 1.0, 0.0, 0.0], ["a", "b"], 2),  # nothing is left for a pass of its own
    ],
)
def test_one_backward_per_term_apart_and_one_for_the_rest(
    passes, weighting: list[float], apart: list[str], count: int
) -> None:
    means, weights = problem(0, weighting)
    separate(means, apart, weights)
    assert passes.backwards == {"weights": count}


def test_the_objective_is_the_weighted_sum() -> None:
    means, _ = problem(0, [1.0, 2.0, 0.0, -3.0])
    torch.testing.assert_close(objective(means), sum(f * v for f, v in means.values()))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_term_of_weight_zero_cannot_spoil_the_objective(bad: float) -> None:
    means, weights = problem(0, [1.0, 1.0, 1.0, 0.0])
    means["d"] = (0.0, bad * weights["w"].sum())
    assert objective(means).isfinite()
    _, total = separate(means, ["a"], weights)
    assert all(g.isfinite().all() for g in total.values())


def test_gradients_are_zero_where_nothing_depends_on_a_weight() -> None:
    means, weights = problem(0, [1.0] * 4)
    assert torch.equal(gradients(means["a"][1], weights)["unused"], torch.zeros(2, dtype=torch.float64))


def test_nothing_is_accumulated_on_the_weights() -> None:
    means, weights = problem(0, [1.0] * 4)
    separate(means, ["a"], weights)
    assert all(weight.grad is None for weight in weights.values())
