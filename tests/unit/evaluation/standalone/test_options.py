"""Options of `cure eval` that are written as text."""

import re

import pytest

from cure.errors import UserError
from cure.evaluation.standalone.options import arguments, severities, threat


def test_a_threat_model_has_what_was_given_alone() -> None:
    assert threat("linf") == {"norm": "linf"}
    assert threat("Linf", "8/255") == {"norm": "linf", "eps": 8 / 255}
    assert threat("L2", 2, "15/255") == {"norm": "l2", "eps": 2.0, "step": 15 / 255}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("l1",), "--norm l1: no such norm; allowed: linf, l2"),
        (("linf", "8"), "--eps 8: images are in [0, 1], so an L-inf radius is at most 1; 8 grey levels are 8/255"),
        (("l2", "0"), "--eps 0: not a number above 0, such as 8/255 or 0.5"),
        (("l2", "nan"), "--eps nan: not a number above 0"),
        (("l2", "8/0"), "--eps 8/0: not a number above 0"),
        (("l2", None, "-1"), "--step -1: not a number above 0"),
        (("l2", None, "fast"), "--step fast: not a number above 0"),
    ],
)
def test_a_threat_model_that_is_none_is_refused(given: tuple, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        threat(*given)


def test_in_python_options_have_no_dashes() -> None:
    with pytest.raises(UserError, match=r"^eps True: not a number"):
        threat("l2", True, dashes="")
    with pytest.raises(UserError, match=r"^corruptions 6: not severities"):
        severities("6", "corruptions")


def test_severities_are_all_or_some_in_their_order() -> None:
    assert severities(None) is None
    assert severities("all") == [1, 2, 3, 4, 5]
    assert severities("5, 1,5") == [1, 5]


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("text", ["", ",", "0", "1,6", "all,1", "1-5", "one"])
def test_other_severities_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="not severities; allowed: all, or some of 1,2,3,4,5"):
        severities(text)


def test_arguments_are_a_json_object() -> None:
    assert arguments(None) == {}
    assert arguments('{"num_classes": 10, "wide": true}') == {"num_classes": 10, "wide": True}


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize("text", ["", "10", "[1]", "{num_classes: 10}", "num_classes=10", "[" * 100_000])
def test_other_arguments_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=re.escape("""not a JSON object; write it as '{"num_classes": 10}'""")):
        arguments(text)
