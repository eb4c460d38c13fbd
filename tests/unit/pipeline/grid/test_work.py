"""What is said of a stage that failed on a worker."""

import pytest

pytest.importorskip("distributed")
from cure.pipeline.grid.work import last_error

OUTPUT = """Running stage 'report':
error: params.yaml has problems:
  report.title: Input should be a valid string; found 3
  threat.eps: Input should be greater than 0; found -1
ERROR: failed to reproduce 'report': failed to run: python ../stages/report.py, exited with 2
"""
REASONS = (
    "params.yaml has problems: report.title: Input should be a valid string; found 3; "
    "threat.eps: Input should be greater than 0; found -1"
)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (OUTPUT, REASONS),
        ("error: first\n  old\n" + OUTPUT, REASONS),
        ("error: a wrong number\nERROR: failed to reproduce\n", "a wrong number"),
        ("Traceback:\nValueError: x\n\n", "ValueError: x"),
        ("", "it printed nothing"),
    ],
)
def test_a_failed_stage_is_told_with_its_reasons(output: str, said: str) -> None:
    assert last_error(output) == said
