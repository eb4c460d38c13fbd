"""Order statistics: all ways of finding them against sorting, on what floats can hold."""

import math
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cure.nn.order_statistics import CHUNK, order_statistics, packing_of, partitioned
from tests.support.interpreted import interpreted


def packed(values, ranks):
    """As on a GPU, by counting bits."""
    packing = packing_of(values)
    return list(packing.order_statistics(packing.packed(values), ranks))


def by_radix(values, ranks):
    """As on a GPU with Triton, whose interpreter runs the kernel here."""
    with interpreted():
        return packed(values, ranks)


ways = pytest.mark.parametrize("way", [partitioned, packed, by_radix])
EDGES = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, 5e-324, -5e-324, 1e-40, -1e-40, 3.4e38, -3.4e38]


@ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(values=st.lists(st.sampled_from(EDGES) | st.floats(-1, 1, width=32), min_size=1, max_size=40), data=st.data())
def test_it_is_what_stands_there_after_sorting(way, dtype, values, data) -> None:
    value, rank = torch.tensor(values, dtype=dtype), data.draw(st.integers(0, len(values) - 1))
    (found,) = way([value], [rank])
    assert found.dtype == dtype
    assert found == value.sort().values[rank] == value.kthvalue(rank + 1).values


@ways
@pytest.mark.parametrize("n", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_first_last_and_median_of_all_lengths(way, n: int) -> None:
    value = torch.randn(n, generator=torch.Generator().manual_seed(n))
    ranks = sorted({0, n // 2, n - 1})
    assert torch.equal(torch.stack(way([value] * len(ranks), ranks)), value.sort().values[ranks])


@ways
def test_tensors_of_all_shapes_are_each_ranked_by_themselves(way) -> None:
    draws = torch.Generator().manual_seed(0)
    shapes = [(64,), (64, 3, 3, 3), (1,), (70, 70), (5, CHUNK)]
    values = [torch.randn(shape, generator=draws) * 10**i for i, shape in enumerate(shapes)]
    ranks = [value.numel() // 3 for value in values]
    wanted = [value.flatten().kthvalue(rank + 1).values for value, rank in zip(values, ranks, strict=True)]
    assert torch.equal(torch.stack(way(values, ranks)), torch.stack(wanted))


@ways
def test_a_tensor_in_another_memory_format_is_ranked_and_left_alone(way) -> None:
    value = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    before = value.detach().clone()
    (found,) = way([value], [7])
    assert found == before.flatten().kthvalue(8).values
    assert torch.equal(value, before)


@ways
@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, 2.5])
def test_all_equal(way, value: float) -> None:
    assert all(found == value for found in way([torch.full((9,), value)] * 3, [0, 4, 8]))


def test_nothing_is_read_back_while_counting() -> None:
    value = torch.empty(2 * CHUNK, device="meta")  # has no values that could be looked at
    assert [found.shape for found in packed([value, value[:10]], [5, 3])] == [(), ()]


@pytest.mark.parametrize("way", [packed, by_radix])
def test_of_several_tensors_together_there_is_one(way) -> None:
    values = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (5, 5000, 300)]
    packing = packing_of(values)
    with interpreted() if way is by_radix else nullcontext():
        (found,) = packing.order_statistics(packing.packed(values), [1234], together=True)
    assert found == torch.cat(values).sort().values[1234]


@pytest.mark.cuda
def test_on_a_device_it_is_exact_deterministic_and_waits_for_nothing() -> None:
    torch.set_deterministic_debug_mode("error")
    values = [torch.randn(n, device="cuda") for n in (10, 5000, 100_000)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = order_statistics(values, [3, 1500, 30_000])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    wanted = partitioned([value.cpu() for value in values], [3, 1500, 30_000])
    assert [float(one) for one in found] == [float(one) for one in wanted]
