"""The total time to go of a grid: how long stages take, and how they fit on the workers."""

import pytest

from cure.pipeline.grid.time_left import expected, makespan

NEEDS = {"prepare": [], "train@a": ["prepare"], "train@b": ["prepare"], "train@c": ["prepare"], "report": ["train@a"]}


def test_a_stage_takes_as_long_as_others_of_its_kind_else_as_the_others() -> None:
    took = {"prepare": 3.0, "train@a": 9.0, "train_to_revise@b": 12.0}
    stages = ["train_from_natural@c", "report"]
    assert expected(took, stages) == {"train_from_natural@c": 10.5, "report": 8.0}


@pytest.mark.parametrize(("took", "said"), [({}, False), ({"prepare": 3.0}, False), ({"train@a": 3.0}, True)])
def test_nothing_is_said_before_half_of_the_stages_to_come_are_of_a_known_kind(took: dict, said: bool) -> None:
    assert bool(expected(took, ["train@b", "train@c", "report"])) is said


@pytest.mark.parametrize(("workers", "seconds"), [(1, 1 + 30 + 5), (2, 1 + 20), (3, 1 + 15), (0, 36)])
def test_stages_start_when_a_worker_is_free_and_their_needs_are_done(workers: int, seconds: float) -> None:
    to_come = {"train@a": 10.0, "train@b": 10.0, "train@c": 10.0, "report": 5.0}
    assert makespan({"prepare": 1.0}, to_come, NEEDS, workers) == seconds


def test_what_runs_holds_its_worker_and_what_is_done_holds_nothing() -> None:
    assert makespan({"train@a": 4.0, "train@b": 7.0}, {"report": 5.0}, NEEDS, 2) == 9.0
    assert makespan({"train@b": 7.0}, {"report": 5.0}, NEEDS, 1) == 12.0
    assert makespan({}, {}, NEEDS, 2) == 0.0
