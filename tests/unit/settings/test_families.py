"""The lists of the grid: where each method belongs, which rows follow, and who may play a role."""

import copy

import pytest

from cure import catalogue
from cure.core.names import NAMES, ORDER
from cure.reporting.results import methods
from cure.settings.check import check
from cure.settings.families import family
from cure.settings.sections import Grid
from tests.support.settings import QUICKSTART, SCALES, view


def with_lists(**lists):
    raw = copy.deepcopy(QUICKSTART)
    raw["grid"] |= lists
    return raw


def with_roles(**roles):
    return QUICKSTART | {"roles": QUICKSTART["roles"] | roles}


@pytest.mark.parametrize("scale", SCALES)
def test_the_lists_make_rows_once_and_those_of_the_paper_all(scale):
    grid = view(SCALES[scale], "grid").get("grid", Grid)
    missing = set(catalogue.names("methods")) - set(grid.methods)
    assert len(grid.methods) == len(set(grid.methods))
    assert missing == (set() if scale == "paper" else {"at_ema", "lbgat", "hat", "generalist", "ikl_at"})


def test_rows_stand_in_the_order_of_the_tables_and_unknown_ones_behind_by_family():
    grid = view(with_lists(update=["toy", "part", "awp", "at"], update_from_natural=["other"], analyse=[]), "grid").get(
        "grid", Grid
    )
    assert methods(grid) == [
        "natural",
        "at",
        "awp",
        "ard",
        "iad",
        "part",
        "rift",
        "arat",
        "cure",
        "cure_eff",
        "toy",
        "other",
    ]


def test_the_order_names_every_method_that_has_a_name():
    assert sorted(ORDER) == sorted(NAMES)


@pytest.mark.parametrize(
    ("method", "listed"),
    [
        ("trades", "update"),
        ("arat", "update_to_revise"),
        ("vfd", "update_from_natural"),
        ("cure", "update_from_natural_to_revise"),
        ("ard", "update_from_teacher"),
        ("iad", "update_from_both"),
        ("rift", "revise_from_robust"),
    ],
)
def test_a_method_belongs_where_it_starts_and_ends(method, listed):
    assert family(catalogue.entry("methods", method).METHOD) == listed


def test_a_method_in_a_list_whose_stages_do_not_fit_it_is_refused_with_the_one_that_does():
    found = check(with_lists(update=[*QUICKSTART["grid"]["update"], "ard"], update_from_teacher=[]))
    assert found == ["grid.update: ard belongs in update_from_teacher; name it there"]


@pytest.mark.parametrize(("listed", "row"), [("update", "natural"), ("update_from_natural", "trades")])
def test_a_row_in_two_lists_is_refused(listed, row):
    found = check(with_lists(**{listed: [*QUICKSTART["grid"][listed], row]}))
    assert f"grid: {row} is listed twice (natural is always included; do not list it)" in found


def test_a_teacher_that_needs_the_teacher_is_refused_with_those_that_do_not():
    allowed = [name for name in view(QUICKSTART, "grid").get("grid", Grid).methods if name not in ("ard", "iad")]
    for row in ("ard", "iad"):
        said = f"roles.teacher: {row!r} needs the teacher method itself; name one of {', '.join(allowed)}"
        assert check(with_roles(teacher=row)) == [said]


def test_a_robust_row_that_starts_from_the_robust_row_is_refused():
    (said,) = check(with_roles(robust="rift"))
    assert said.startswith("roles.robust: 'rift' needs the robust method itself; name one of natural, at, ")
    assert "rift" not in said.partition("; ")[2].split(", ")


def test_two_roles_that_need_each_other_are_refused():
    found = check(with_roles(robust="ard", teacher="rift"))
    assert [line.partition(" needs ")[0] for line in found] == ["roles.robust: 'ard'", "roles.teacher: 'rift'"]


@pytest.mark.parametrize("roles", [{"robust": "ard"}, {"teacher": "rift"}, {"teacher": "natural", "robust": "iad"}])
def test_a_role_may_go_to_a_row_that_needs_another_role(roles):
    assert check(with_roles(**roles)) == []


def test_a_role_that_no_row_plays_is_refused():
    assert check(with_roles(robust="att"))[0].startswith(
        "roles.robust: 'att' is not a method of the grid, did you mean at"
    )
