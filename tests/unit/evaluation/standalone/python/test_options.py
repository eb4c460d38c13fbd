"""The arguments of `evaluate`."""

import re

import pytest
import torch

from cure.errors import UserError
from cure.evaluation.standalone.plan import opened, published, threat_model
from cure.evaluation.standalone.python.options import Options

DEFAULTS = {"norm": "Linf", "attacks": None, "eps": None, "step": None, "corruptions": None, "n": None, "device": None}
DEFAULTS |= {"classes": None, "batch": 250, "seed": 0, "out": None, "progress": True, "force": False}


def options(**how):
    return Options(**(DEFAULTS | how))


def mine(net, x, y):
    return x


@pytest.mark.parametrize(
    ("attacks", "columns"),
    [
        ("clean, pgd20", ["clean", "pgd20"]),
        (" clean ,\tpgd20,, ", ["clean", "pgd20"]),
        (["clean ", " pgd20"], ["clean", "pgd20"]),
        (("pgd20", "aa"), ["pgd20", "aa"]),
        ({"mine": mine}, ["mine"]),
        (["clean", {"mine": mine, "other": mine}, "aa"], ["clean", "mine", "other", "aa"]),
    ],
)
def test_attacks_are_a_text_a_list_or_functions_with_names(attacks, columns):
    found = options(attacks=attacks)
    assert found.columns == columns
    assert list(found.own) == [name for name in columns if name in ("mine", "other")]


def test_without_names_the_attacks_are_those_that_the_norm_has():
    assert options().columns == ["clean", "pgd20", "cw20", "aa"]
    assert options(norm="L2").columns == ["clean", "pgd20", "aa"]


@pytest.mark.parametrize(
    ("how", "eps", "step"),
    [
        ({}, 8 / 255, 2 / 255),
        ({"eps": "4/255"}, 4 / 255, 1 / 255),
        ({"eps": 0.5, "step": "1/255"}, 0.5, 1 / 255),
        ({"norm": "L2"}, 0.5, 15 / 256),
        ({"norm": "l2", "eps": 2}, 2.0, 15 / 64),
    ],
)
def test_radius_and_step_are_given_or_the_usual_ones(how, eps, step):
    found = threat_model(opened(published(), "", ""), **options(**how).threat)
    assert (found.eps, found.step) == pytest.approx((eps, step), rel=1e-12)
    assert found.norm == how.get("norm", "linf").lower()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, None), ("all", [1, 2, 3, 4, 5]), ("5, 1", [1, 5]), ([3], [3]), ((2, 1), [1, 2])],
)
def test_severities_are_a_text_or_a_list(asked, expected):
    assert options(corruptions=asked).severities == expected


def test_a_device_may_be_a_text_or_pytorchs():
    assert options().where is None
    assert options(device="cpu").where == options(device=torch.device("cpu")).where == torch.device("cpu")


WRONG = [
    ({"attacks": 3}, "attacks is 3; needed: a text such as 'clean, pgd20', a list of names, or {'mine': attack}"),
    ({"attacks": ["clean", 3]}, "attacks has 3; needed: a text"),
    ({"attacks": {"mine": "pgd20"}}, "attacks: mine is a str; needed: a function (net, x, y) -> x_adv"),
    ({"attacks": {"worst": mine}}, "attacks: 'worst' as the name of yours: taken"),
    ({"attacks": {"nrr_mine": mine}}, "attacks: 'nrr_mine' as the name of yours: taken"),
    ({"attacks": {"a/b": mine}}, "attacks: 'a/b' as the name of yours: not a name of letters"),
    ({"attacks": [{"mine": mine}, {"mine": mine}]}, "two of yours are called mine"),
    ({"norm": "L3"}, "norm L3: no such norm; allowed: linf, l2"),
    ({"eps": "8//255"}, "eps 8//255: not a number above 0, such as 8/255 or 0.5"),
    ({"eps": 8}, "an L-inf radius is at most 1; 8 grey levels are 8/255"),
    ({"step": 0}, "step 0: not a number above 0"),
    ({"step": [1]}, "step [1]: not a number above 0"),
    ({"corruptions": 3}, "corruptions is 3; needed: 'all', or severities such as '1,3,5' or [1, 3, 5]"),
    ({"corruptions": [6]}, "corruptions 6: not severities; allowed: all, or some of 1,2,3,4,5"),
    ({"n": 0}, "n is 0; a whole number from 1"),
    ({"n": 2.5}, "n is 2.5; a whole number from 1"),
    ({"classes": 1}, "classes is 1; a whole number of at least 2"),
    ({"device": "tpu9"}, "device is 'tpu9', which PyTorch does not have here"),
    ({"device": "cuda:99"}, "device is 'cuda:99', which PyTorch does not have here"),
    ({"device": 1.5}, "device is 1.5, which PyTorch does not have here"),
]


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(("how", "said"), WRONG)
def test_arguments_that_make_no_sense_are_refused(how, said):
    with pytest.raises(UserError, match=re.escape(said)):
        options(**how)
