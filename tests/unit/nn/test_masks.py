import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cure import catalogue
from cure.nn.masks import applied, chosen, masks, threshold
from tests.support.pretend_cuda import pretending

SHARES = st.integers(0, 1000).map(lambda k: Fraction(k, 1000))


def conserved(n: int, share: Fraction) -> int:
    """How many of n distinct scores fall below the percentile: q(N-1) if whole, else its floor plus one."""
    rank = share * (n - 1)
    return int(rank) if rank.denominator == 1 else math.floor(rank) + 1


def shuffled(n: int, seed: int) -> torch.Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).float()


@given(st.integers(1, 400), SHARES, st.integers(0, 100))
def test_the_kept_set_is_that_of_numpys_percentile(n: int, share: Fraction, seed: int) -> None:
    score = shuffled(n, seed)
    limit = np.percentile(score.double().numpy(), 100 * float(share))
    kept = score >= threshold(score, float(share))
    assert kept.tolist() == (score.double().numpy() >= limit - 1e-6).tolist()  # numpy's interpolation rounds


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), SHARES)
def test_the_kept_set_is_numpys_also_with_ties(values: list[int], share: Fraction) -> None:
    score = torch.tensor(values, dtype=torch.float64)
    limit = np.percentile(score.numpy(), 100 * float(share))
    kept = score >= threshold(score, float(share))
    assert kept.tolist() == (score.numpy() >= limit - 1e-6).tolist()


@given(st.integers(1, 400), SHARES)
def test_the_number_of_conserved_entries_has_its_closed_form(n: int, share: Fraction) -> None:
    score = shuffled(n, 1)
    assert int((score < threshold(score, float(share))).sum()) == conserved(n, share)


@pytest.mark.parametrize(
    ("n", "percent", "zeroed"),
    [(64, 30, 19), (11, 30, 3), (101, 7, 7), (101, 55, 55), (1001, 0.1, 1), (576, 30, 173), (64, 0, 0), (64, 100, 63)],
)
def test_the_number_of_conserved_entries_in_known_cases(n: int, percent: float, zeroed: int) -> None:
    score = shuffled(n, 2)
    assert int((score < threshold(score, percent / 100)).sum()) == zeroed


@pytest.mark.parametrize("shape", [(1,), (8, 3, 3, 3), (16, 16)])
def test_share_zero_keeps_everything_and_share_one_the_largest(shape: tuple[int, ...]) -> None:
    score = shuffled(math.prod(shape), 3).view(shape)
    assert (score >= threshold(score, 0.0)).all()
    assert int((score >= threshold(score, 1.0)).sum()) == 1


def test_equal_scores_are_all_kept() -> None:
    score = torch.zeros(10)
    assert masks({"w": score}, 0.9, "layer")["w"].all()


def test_layer_scope_cuts_every_tensor_by_itself() -> None:
    scores = {"small": shuffled(64, 0).view(4, 16), "large": 1000 + shuffled(64, 1)}
    found = masks(scores, 0.3, "layer")
    assert [int((~keep).sum()) for keep in found.values()] == [19, 19]
    assert found["small"].shape == (4, 16)


def test_global_scope_has_one_threshold_for_all() -> None:
    scores = {"small": shuffled(64, 0).view(4, 16), "large": 1000 + shuffled(64, 1)}
    found = masks(scores, 0.3, "global")
    limit = np.percentile(torch.cat([s.flatten() for s in scores.values()]).numpy(), 30)
    assert all(torch.equal(found[name], scores[name] >= limit) for name in scores)
    assert int((~found["small"]).sum()) == conserved(128, Fraction(3, 10))
    assert found["large"].all()


def test_with_one_tensor_the_scopes_agree() -> None:
    scores = {"w": shuffled(64, 0)}
    assert torch.equal(masks(scores, 0.3, "layer")["w"], masks(scores, 0.3, "global")["w"])


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_masks_of_a_device_are_those_of_the_host(scope: str, dtype: torch.dtype) -> None:
    shapes, draws = [(8, 3, 3, 3), (5,), (64, 65), (300, 7, 3, 3)], torch.Generator().manual_seed(0)
    scores = {str(i): torch.rand(shape, generator=draws, dtype=dtype) for i, shape in enumerate(shapes)}
    scores["3"] = scores["3"].to(memory_format=torch.channels_last)
    gradients = {name: torch.randn(score.shape, generator=draws, dtype=dtype) for name, score in scores.items()}
    gradients["3"] = gradients["3"].to(memory_format=torch.channels_last)
    gradients["not masked"] = torch.randn(3, dtype=dtype)
    keep = masks(scores, 0.3, scope)
    wanted = applied(gradients, keep)
    with pretending():
        there = {name: score.to("cuda") for name, score in scores.items()}
        found = masks(there, 0.3, scope)
        moved = applied({name: g.to("cuda") for name, g in gradients.items()}, found)
        assert {name: flags.is_cuda for name, flags in found.items()} == dict.fromkeys(scores, True)
    assert {name: flags.dtype for name, flags in found.items()} == dict.fromkeys(scores, torch.bool)
    assert all(torch.equal(found[name], keep[name]) for name in keep)
    assert list(moved) == list(wanted)
    for name in wanted:
        assert torch.equal(moved[name], wanted[name])
        assert moved[name].stride() == wanted[name].stride()


def test_masks_of_a_device_are_a_few_kernels_however_many_tensors_there_are() -> None:
    def operations(tensors: int) -> int:
        with pretending() as device:
            scores = {str(i): torch.rand(40, 5, device="cuda") for i in range(tensors)}
            applied(scores, masks(scores, 0.3, "layer"))  # constants are made once
            before, views = device.operations, device.views
            applied(scores, masks(scores, 0.3, "layer"))
            return device.operations - before - (device.views - views)

    assert operations(4) == operations(40) < 330


@pytest.fixture(scope="module")
def resnet18() -> list[str]:
    entry = catalogue.entry("models", "resnet18")
    with torch.device("meta"):
        return [name for name, _ in entry.MODEL(entry.Hyper(), 3, 10).named_parameters()]


def test_without_the_classifier_resnet18_has_60_of_62_tensors(resnet18: list[str]) -> None:
    assert len(resnet18) == 62
    assert len(chosen(resnet18, ["*"], ["linear.*"])) == 60


def test_the_released_pattern_hits_the_first_convolutions_of_the_blocks_and_not_the_stem(resnet18: list[str]) -> None:
    expected = [f"layer{stage}.{block}.conv1.weight" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert chosen(resnet18, ["*.conv1.weight"], ["linear.*", "fc.*"]) == expected


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*"], [], ["a.w", "a.b", "c.w"]),
        (["*"], ["*"], []),
        ([], [], []),
        (["a.*"], ["*.b"], ["a.w"]),
        (["c.w", "a.b"], [], ["a.b", "c.w"]),  # the order of the names, not of the patterns
        (["?.w"], ["a*", "x"], ["c.w"]),
    ],
)
def test_chosen_matches_include_and_no_exclude(include: list[str], exclude: list[str], expected: list[str]) -> None:
    assert chosen(["a.w", "a.b", "c.w"], include, exclude) == expected
