"""The arguments of `evaluate`."""

import re

import pytest
import torch

from cure.errors import UserError
from cure.evaluation.standalone.python.options import Options

DEFAULTS = {"norm": "Linf", "attacks": ["clean"], "eps": "8/255", "step": None, "n": None, "device": None}
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


def test_the_step_is_a_quarter_of_the_radius_or_what_is_given():
    assert options().threat == {"eps": 8 / 255, "step": 2 / 255}
    assert options(eps=0.5, step="1/255").threat == {"eps": 0.5, "step": 1 / 255}


@pytest.mark.parametrize("norm", ["Linf", "linf", "LINF"])
def test_the_norm_is_spelt_in_any_case(norm):
    assert options(norm=norm).norm == norm


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
    ({"norm": "L3"}, "norm is 'L3'; allowed: 'Linf'"),
    ({"eps": "8//255"}, "eps is '8//255'; a radius above 0 and up to 1, such as 8/255: images are in [0, 1]"),
    ({"eps": 8}, "and 8 grey levels are 8/255"),
    ({"step": 0}, "step is 0; a step size above 0, such as 2/255"),
    ({"step": "x"}, "step is 'x'; a step size above 0"),
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
