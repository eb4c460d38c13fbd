"""docs/tables.md explains every check that an evaluation can raise, and the marks of the tables."""

import torch

from cure.evaluation.diagnostics.attack_path import convergence
from cure.evaluation.diagnostics.gradient_masking import CHECKS as MASKING
from cure.evaluation.diagnostics.preflight import CHECKS as PREFLIGHT
from cure.reporting.beside import OTHER
from cure.reporting.table import EARLIER
from tests.support.diagnostics import RULES
from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "tables.md").read_text()


def test_every_check_has_a_line_and_every_line_is_a_check() -> None:
    path = [line.name for line in convergence(torch.zeros(1, 20), 0.1, RULES)]
    shown = [line.split("`")[1] for line in PAGE.partition("## Raised checks")[2].splitlines() if line[:3] == "| `"]
    assert sorted(shown) == sorted([*MASKING, *path, *PREFLIGHT])


def test_the_marks_are_explained() -> None:
    assert [mark for mark in (EARLIER, OTHER, "†", "±") if f"| {mark} |" not in PAGE] == []
