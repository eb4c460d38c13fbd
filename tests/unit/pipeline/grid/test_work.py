"""What is said of a stage that failed on a worker."""

from pathlib import Path

import pytest

pytest.importorskip("distributed")
from cure.pipeline.grid import rwlock, work
from cure.pipeline.grid.work import Job, StageFailed, last_error

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


def test_a_stage_waits_for_an_unknown_owner_of_its_files_for_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rwlock, "mend", lambda _: None)
    monkeypatch.setattr(rwlock, "strangers", lambda *_: ["PID 7: dvc repro"])
    monkeypatch.setattr(work.time, "sleep", lambda _: None)
    job = Job("train", tmp_path, tmp_path / "log", tmp_path / "progress", 3)
    work._wait(job, work.BUSY_SECONDS - 1)
    with pytest.raises(
        StageFailed, match=r"blocked for 10 minutes by PID 7: dvc repro, which does not run on .*; if it"
    ):
        work._wait(job, work.BUSY_SECONDS + 1)
