"""What an evaluation runs under a threat model: which columns, with which radius and steps, and which corruptions."""

import re

import pytest

from cure.core.corruption import BENCHMARK
from cure.errors import UserError
from cure.evaluation.speed import AttackSpeed, PassTime
from cure.evaluation.standalone.options import threat
from cure.evaluation.standalone.plan import Plan, opened, plan, published, threat_model
from cure.settings.params import Params


@pytest.fixture(scope="module")
def params() -> Params:
    return opened(published(), "cifar10", "resnet18")


def made(params: Params, attacks: list[str] | None = None, **changes) -> Plan:
    return plan(params, attacks, 10, changes, "--attacks")


def test_in_l2_a_robustbench_user_gets_the_radius_of_its_leaderboard(params) -> None:
    found = made(params, ["pgd20", "aa"], threat=threat("L2"))
    assert (found.threat.norm, found.threat.eps) == ("l2", 0.5)
    assert found.threat.step * 128 / 0.5 == pytest.approx(15)  # Rice et al.: 15/255 of 128/255
    assert {name: (one.ball, one.eps) for name, one in found.attack_sequences.items()} == {
        "pgd20": ("l2", 0.5),
        "aa": ("l2", 0.5),
    }
    assert found.attack_sequences["aa"].label == "standard"
    assert {one.ball for one in found.probes.values()} == {"l2"}


def test_without_options_the_threat_model_is_that_of_the_file(params) -> None:
    found = made(params, ["pgd20"]).threat
    assert (found.norm, found.eps, found.step) == ("linf", 8 / 255, 2 / 255)


def test_another_radius_has_steps_in_proportion_unless_one_is_named(params) -> None:
    assert threat_model(params, eps=4 / 255).step == pytest.approx(1 / 255)
    assert threat_model(params, "l2", eps=1.0).step == pytest.approx(15 / 128)
    assert threat_model(params, "l2", step=0.1).step == 0.1


def test_the_default_columns_in_l2_are_those_with_a_meaning_there(params) -> None:
    found = made(params, threat=threat("l2"))
    assert [*found.attack_sequences] == ["pgd20", "pgd100", "aa", "min_linf", "min_l2"]
    assert {"fgsm", "cw20", "cw100", "pgd20_trades"} <= set(found.left_out)
    assert made(params).left_out == []


def test_the_images_that_every_column_sees_are_those_of_the_norms_own_smallest_perturbations(params) -> None:
    few = {"min_linf": 10, "min_l2": 20}
    changes = {"attack": {"subset": few}}
    assert made(params, ["aa", "min_linf", "min_l2"], threat=threat("l2"), **changes).probed(40) == 20
    assert made(params, ["aa", "min_linf", "min_l2"], **changes).probed(40) == 10


@pytest.mark.reliability("wrong inputs")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "cw20",
            "--attacks: cw20 (cw) is an attack in the L-inf ball, and has no L2 form; in L2 there are aa_rand, pgd20",
        ),
        ("fgsm", "--attacks: fgsm has a radius or a step of its own, of the L-inf ball; in L2 there are"),
        ("pgd20_trades", "--attacks: pgd20_trades has a radius or a step of its own"),
    ],
)
def test_what_has_no_meaning_in_l2_is_refused_by_name(params, name: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        made(params, ["clean", "pgd20", name], threat=threat("l2"))
    assert made(params, ["clean", "pgd20", name]).left_out == []


def test_corruptions_are_the_15_at_the_severities_that_are_asked_for(params) -> None:
    found = made(params, ["clean"], severities=[1, 3]).corrupt
    assert found is not None
    assert (set(found.corruptions), found.severities) == (set(BENCHMARK), [1, 3])
    assert made(params, ["clean"]).corrupt is None


def test_the_estimate_counts_every_corrupted_set_as_the_images_once_more(params) -> None:
    speed = AttackSpeed(PassTime(0.0, 1.0), PassTime(0.0, 2.0), 20)
    assert made(params, ["clean"]).seconds(speed, 40) == 40
    assert made(params, ["clean"], severities=[1, 3]).seconds(speed, 40) == 40 + 15 * 2 * 40
