"""What a narrow terminal shows of a wide table."""

import io

import pytest
from rich.console import Console

from cure.runtime.terminal import ruled

VALUES = ("trajectories/digits/small/at-s0.safetensors", "25fa27ebebb3d4aa988bb7273c3de7f9", "no")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_table_loses_no_character(width: int) -> None:
    table, out = ruled("out", "dvc.lock", "equal"), io.StringIO()
    table.add_row(*VALUES)
    Console(file=out, width=width).print(table)
    lines = [line.strip("│\n").split("│") for line in out.getvalue().splitlines() if line.startswith("│")]
    assert ["".join(part.strip() for part in column) for column in zip(*lines, strict=True)] == list(VALUES)
