"""Which attempts at a stage count against --retries."""

from typing import Any

import pytest

pytest.importorskip("distributed")
from cure.pipeline.grid.attempts import HANDED_ON, WAITED, fruitless, parse

Line = dict[str, Any]
BEGIN: Line = {"worker": "node cpu", "time": 1.0}
LEFT: Line = {"let_go": HANDED_ON, "note": ""}
BUSY: Line = {"let_go": WAITED, "note": "waits for PID 7: dvc repro"}


def step(done: int, label: str = "train") -> Line:
    return {"label": label, "done": done, "total": 9, "note": "", "time": 2.0}


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ([], 0),
        ([BEGIN], 1),
        ([BEGIN, step(0)], 1),  # the first event of a stage is no step
        ([BEGIN, step(0), step(1)], 0),
        ([BEGIN, step(1), BEGIN, step(1), BEGIN, step(1)], 2),  # a resumed stage reports its old steps again
        ([BEGIN, step(1), BEGIN, step(1), step(2), BEGIN, step(2)], 1),
        ([BEGIN, step(1), BEGIN, step(1, "attack")], 0),  # the first step of another bar
        ([BEGIN, LEFT, BEGIN, BUSY, BEGIN, LEFT], 0),  # whose worker was told to end, and who only waited
        ([BEGIN, BEGIN, LEFT, BEGIN], 2),
    ],
)
def test_an_attempt_counts_if_it_was_killed_before_a_new_step(lines: list[Line], count: int) -> None:
    assert fruitless(parse(lines)) == count
