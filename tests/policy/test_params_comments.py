"""Each section of the three params.yaml begins with a line of purpose."""

from itertools import pairwise

import pytest

from tests.support.project import ROOT


def sections(text: str) -> dict[str, str]:
    """Every key at the top of a params.yaml, with the line above it."""
    lines = ["", *text.splitlines()]
    return {line.partition(":")[0]: before for before, line in pairwise(lines) if line[:1].isalpha()}


@pytest.mark.parametrize("name", ["params.yaml", "quickstart/params.yaml", "pilot/params.yaml"])
def test_every_section_says_what_it_is_for(name: str) -> None:
    found = sections((ROOT / name).read_text())
    assert {"alpha", "grid", "methods", "root"} <= set(found)
    assert [key for key, before in found.items() if not before.startswith("# ")] == []


def test_a_section_without_a_purpose_is_seen() -> None:
    assert sections("# Data.\ndata: 1\n\nmodels:\n  a: 2\n") == {"data": "# Data.", "models": ""}
