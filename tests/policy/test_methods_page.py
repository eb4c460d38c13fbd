"""docs/methods.md is what the catalogue gives, and says how many passes a step needs."""

import pytest

from tools.methods_page import PAGE, page


@pytest.fixture(scope="module")
def made() -> str:
    return page()


def test_the_page_of_methods_is_current(made: str) -> None:
    assert PAGE.read_text() == made, "run `python -m tools.methods_page`"


def test_the_cost_of_a_step_is_the_least_that_its_equation_needs(made: str) -> None:
    lean = {"natural": 3, "at": 23, "trades": 27, "mart": 26, "st_at": 60, "act": 26, "cure": 33}
    lean |= {"ard": 24, "iad": 28, "part": 24, "vfd": 27, "arat": 26}
    for method, passes in lean.items():
        found = made.partition(f"`{method}`. ")[2].splitlines()[0]
        assert f"; passes per image: {passes}; running statistics move: student " in found
