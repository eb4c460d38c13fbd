"""The live table of an evaluation: counts, running accuracy and the time that is left."""

import pytest

from cure.core.attack import Chain
from cure.engine.cost import Pace
from cure.engine.ratio import wilson
from cure.engine.robustness import Progress
from cure.evaluation import show
from cure.evaluation.plan import Plan
from cure.schema import AttackSuite, Masking, Threat


def never(net, batch):
    raise AssertionError("nothing is attacked here")


PGD = Chain({"pgd": never}, {"steps": 10})
AA = Chain({"apgd-ce": never, "square": never}, {"iterations": 10, "queries": 50})
MINIMUM = Chain({"fmn": never}, {"steps": 10}, norm="linf")


@pytest.fixture
def watch(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: now[0])
    suite = AttackSuite.model_construct(subset={"aa": 50, "min": 50}, table=["pgd20"], nrr="pgd20")
    plan = Plan(
        suite, Threat(eps=0.1, step=0.01), Masking.model_construct(images=10), {"pgd20": PGD, "aa": AA, "min": MINIMUM}
    )
    made = show.Watch("net", plan, 100, Pace(forward=1.0, gradient=2.0))
    made.now = now
    return made


def share(right, images):
    low, high = wilson(right, images)
    return f"{100 * right / images:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def test_running_accuracy_counts_what_is_to_come_as_surviving(watch):
    watch(Progress("clean", "clean", 10, 100))
    watch(Progress("pgd20", "pgd", 5, 40))
    assert watch.rows() == [["clean", "100", "90", share(90, 100)], ["pgd20", "40/90", "85", share(85, 100)]]


def test_a_later_attack_of_a_chain_meets_the_survivors(watch):
    for news in (
        ("clean", "clean", 10, 100),
        ("pgd20", "pgd", 5, 90),
        ("aa", "apgd-ce", 20, 45),
        ("aa", "square", 1, 10),
    ):
        watch(Progress(*news))
    assert watch.rows()[2:] == [
        ["aa apgd-ce", "45/45", "25", share(25, 50)],
        ["aa square", "10/25", "24", share(24, 50)],
    ]


def test_the_time_left_is_the_work_left_at_the_speed_of_the_work_done(watch):
    assert watch.left() is None
    watch(Progress("clean", "clean", 0, 100))
    watch.now[0] = 30.0
    watch(Progress("pgd20", "pgd", 0, 50))
    apgd, square, fmn = (1 + 11 * 2) * 50, 53 * 50, 20 * 50  # seconds by the pace: forwards cost 1, gradients 2
    done, to_do = 50 * 20, 50 * 20 + apgd + square + fmn
    assert watch.left() == pytest.approx(30 * to_do / done)


def test_a_finished_evaluation_has_no_time_left(watch):
    everything = [("pgd20", "pgd", 0, 100), ("aa", "apgd-ce", 50, 50), ("aa", "square", 0, 0), ("min", "fmn", 50, 50)]
    for news in [("clean", "clean", 0, 100), *everything]:
        watch.now[0] += 1
        watch(Progress(*news))
    assert watch.left() == 0


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (90.0, "1:30"), (7325.0, "2:02:05")])
def test_times_are_read_at_a_glance(seconds, text):
    assert show.clock(seconds) == text
