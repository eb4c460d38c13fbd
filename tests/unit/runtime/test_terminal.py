"""What a narrow terminal shows of a wide table, and how a stage ends."""

import io
import sys

import pytest
from rich.console import Console

from cure.errors import UserError
from cure.runtime.terminal import ruled, stage, warn

VALUES = ("trajectories/digits/small/at-s0.safetensors", "25fa27ebebb3d4aa988bb7273c3de7f9", "no")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_table_loses_no_character(width: int) -> None:
    table, out = ruled("out", "dvc.lock", "equal"), io.StringIO()
    table.add_row(*VALUES)
    Console(file=out, width=width).print(table)
    lines = [line.strip("│\n").split("│") for line in out.getvalue().splitlines() if line.startswith("│")]
    assert ["".join(part.strip() for part in column) for column in zip(*lines, strict=True)] == list(VALUES)


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (None, 0, ""),
        (KeyboardInterrupt(), 130, "interrupted; rerun to resume\n"),
        (UserError("params.yaml: not found"), 2, "error: params.yaml: not found\n"),
    ],
)
def test_a_stage_ends_with_a_code_and_a_line(
    problem: BaseException | None,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        if problem:
            raise problem

    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(SystemExit) as end:
        stage(main)
    assert (end.value.code, capsys.readouterr().err) == (code, said)


def test_mistakes_that_stop_nothing_are_told_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    warn("params.yaml", [])
    assert capsys.readouterr().err == ""
    warn("params.yaml", ["a: b", "c: d"])
    said = "warning: params.yaml: mistakes in what no run of the grid uses:\n  a: b\n  c: d\n"
    assert capsys.readouterr().err == said
