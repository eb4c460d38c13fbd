"""The analyses of training steps, on made-up phases whose gradients, scores and masks are known."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from cure import catalogue
from cure.core.analysis import Phase, Replay
from tests.support.analysis_subject import measured, subject
from tests.support.method_harness import shipped

NAMES = ["conv.weight", "bn.weight", "bn.bias", "linear.weight"]


def weights(scale: float = 1.0) -> dict[str, torch.Tensor]:
    """A convolution of four, a batch norm of two and two, a linear map of two."""
    shapes = [(1, 1, 2, 2), (2,), (2,), (1, 2)]
    return {name: scale * torch.ones(shape) for name, shape in zip(NAMES, shapes, strict=True)}


def phase(share: float, replays: list[Replay], scale: float = 1.0) -> Phase:
    def again() -> Iterator[Replay]:
        return iter(replays)

    return Phase(share, weights(scale), again)


def step(conv: list[float], norm: list[float], shown: dict[str, Any] | None = None) -> Replay:
    """Gradients; the classifier's are 9."""
    values = [conv, norm[:2], norm[2:], [9.0, 9.0]]
    each = zip(weights().items(), values, strict=True)
    return Replay({name: torch.tensor(value).float().reshape(w.shape) for (name, w), value in each}, shown or {})


def scored(conv: list[float], norm: list[float], keep: float = 0.0) -> Replay:
    """A step that shows its score, and a mask of what exceeds `keep`."""
    score = dict(list(step(conv, norm).gradients.items())[:3])
    return step(conv, norm, {"rgp": {"score": score, "mask": {name: s > keep for name, s in score.items()}}})


def test_magnitudes_are_means_over_a_layers_weights_and_over_batches() -> None:
    first = phase(0.0, [step([1, -1, 2, 0], [4, 0, 0, 0]), step([0, 0, 0, 0], [0, 0, 0, 0])])
    last = phase(1.0, [step([1, 1, 1, 1], [1, 1, -1, -1])])
    found = measured("gradients", subject("at", [first, last]))
    assert found.axes == {"share": [0.0, 1.0], "layer": ["conv", "bn", "linear"]}
    assert found.arrays["magnitude"].tolist() == [[0.5, 0.5, 9.0], [1.0, 1.0, 9.0]]
    assert found.arrays["dims"].tolist() == [[4, 1, 2]] * 2


def test_a_threshold_per_tensor_leaves_all_alike_and_one_for_the_network_does_not() -> None:
    given = subject("cure", [phase(0.0, [scored([1, 2, 3, 4], [10, 11, 12, 13])]), phase(1.0, [])])
    assert given.hyper.p == 30  # of 8 scores the upper five are kept, of 4 three, of 2 one
    found = measured("rgp", given)
    assert found.axes == {"share": [0.0, 1.0], "layer": ["conv", "bn"]}
    assert found.arrays["per_tensor"][0].tolist() == [0.75, 0.5]
    assert found.arrays["network_wide"][0].tolist() == [0.25, 1.0]


def test_shares_are_means_over_batches_and_missing_where_there_is_no_mask() -> None:
    both = [scored([1, 2, 3, 4], [10, 11, 12, 13]), scored([10, 20, 30, 40], [1, 2, 3, 4])]
    found = measured("rgp", subject("cure", [phase(0.0, [step([1, 1, 1, 1], [1, 1, 1, 1])]), phase(1.0, both)]))
    assert found.arrays["network_wide"][0].isnan().all()
    assert found.arrays["network_wide"][1].tolist() == [(0.25 + 1) / 2, (1 + 0.25) / 2]


def test_moved_weights_are_those_that_move_most_until_the_next_phase() -> None:
    before, after = phase(0.0, [scored([1] * 4, [1] * 4)]), phase(1.0, [scored([1] * 4, [1] * 4)])
    after.weights["conv.weight"] += torch.tensor([0.0, 0.1, -0.2, 0.9]).reshape(1, 1, 2, 2)
    after.weights["bn.weight"] += 0.5
    after.weights["linear.weight"] += 100  # beyond the mask's reach
    found = measured("rgp", subject("cure", [before, after])).arrays["moved"]
    assert found[0].tolist() == [0.75, 0.5]  # of 0 0 0 .1 .2 .5 .5 .9, the last five
    assert found[1].isnan().all()


def test_overlap_is_of_the_same_batch_between_phases_and_of_successive_ones_within() -> None:
    ones = [1.0] * 4
    first = phase(0.0, [scored([1, 1, 0, 0], ones), scored([1, 0, 1, 0], ones)])
    last = phase(1.0, [scored([1, 1, 0, 0], ones), scored([0, 0, 1, 1], ones)])
    found = measured("overlap", subject("cure", [first, last]))
    assert found.axes == {"share": [0.0, 1.0], "other": [0.0, 1.0], "layer": ["conv", "bn"]}
    conv = found.arrays["jaccard"][:, :, 0]
    within, between = 1 / 3, (1 + 1 / 3) / 2
    assert conv.flatten().tolist() == pytest.approx([within, between, between, 0])
    assert found.arrays["jaccard"][:, :, 1].flatten().tolist() == pytest.approx([1, 1, 1, 1])
    assert found.arrays["chance"][:, :, 0].flatten().tolist() == pytest.approx([0.25 / 0.75] * 4)


def test_overlap_with_a_phase_without_masks_is_no_number() -> None:
    first = phase(0.0, [step([1] * 4, [1] * 4)] * 2)
    last = phase(1.0, [scored([1, 1, 0, 0], [1] * 4)] * 2)
    found = measured("overlap", subject("cure", [first, last])).arrays["jaccard"][:, :, 0]
    assert found.isnan().tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(("analysis", "array"), [("rgp", "network_wide"), ("overlap", "jaccard")])
def test_a_method_that_masks_nothing_has_no_layer_to_tell_of(analysis: str, array: str) -> None:
    bare = [phase(share, [step([1] * 4, [1] * 4)] * 2) for share in (0.0, 1.0)]
    found = measured(analysis, subject("cure", bare, hyper=shipped("cure").model_copy(update={"include": []})))
    assert found.axes["layer"] == []
    assert found.arrays[array].numel() == 0


@pytest.mark.parametrize(
    ("analysis", "rows"),
    [
        ("rgp", {"cure", "cure_eff"}),
        ("overlap", {"cure", "cure_eff"}),
        ("gradients", set(catalogue.names("methods")) - {"ard", "hat", "iad", "vfd"}),
        ("cka", set(catalogue.names("methods"))),
    ],
)
def test_an_analysis_says_which_rows_it_suits(analysis: str, rows: set[str]) -> None:
    suits = catalogue.entry("analyses", analysis).ANALYSIS.suits
    assert {name for name in catalogue.names("methods") if suits(catalogue.entry("methods", name).METHOD)} == rows
