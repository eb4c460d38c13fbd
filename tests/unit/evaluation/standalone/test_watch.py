"""What is seen of a running evaluation: counts, running accuracy and the time that is left."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cure.core.attack import AttackSequence
from cure.evaluation.attack_columns import AttackProgress
from cure.evaluation.speed import AttackSpeed, PassTime
from cure.evaluation.standalone import watch as module
from cure.evaluation.standalone.plan import Plan
from cure.evaluation.standalone.watch import Watch, watching
from cure.evaluation.statistics.intervals import wilson
from cure.settings.sections import AttackSuite, CorruptSuite, Masking, Preflight, Threat
from tests.support.attacks import spending

PGD = AttackSequence({"pgd": spending(10, 10)}, {"steps": 10})
AA = AttackSequence({"apgd-ce": spending(12, 11), "square": spending(53, 0)}, {})
MINIMUM = AttackSequence({"fmn": spending(10, 10)}, {"steps": 10}, norm="linf")


@pytest.fixture
def watch(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    suite = AttackSuite.model_construct(batch=20, subset={"aa": 50, "min": 50}, table=["pgd20"], nrr="pgd20")
    rules = Preflight.model_construct(), Masking.model_construct(images=10, radius=8)
    plan = Plan(suite, Threat(eps=0.1, step=0.01), *rules, 10, {"pgd20": PGD, "aa": AA, "min": MINIMUM})
    made = Watch("net", plan, 100, AttackSpeed(PassTime(0.0, 1.0), PassTime(0.0, 2.0), 20))
    made.now = now
    return made


def share(right, images):
    low, high = wilson(right, images)
    return f"{100 * right / images:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def test_running_accuracy_counts_what_is_to_come_as_surviving(watch):
    watch.take(AttackProgress("clean", "clean", 10, 100))
    watch.take(AttackProgress("pgd20", "pgd", 5, 40))
    assert watch.rows() == [["clean", "100", "90", share(90, 100)], ["pgd20", "40/90", "85", share(85, 100)]]


def test_a_later_attack_of_a_chain_meets_the_survivors(watch):
    for event in (
        ("clean", "clean", 10, 100),
        ("pgd20", "pgd", 5, 90),
        ("aa", "apgd-ce", 20, 45),
        ("aa", "square", 1, 10),
    ):
        watch.take(AttackProgress(*event))
    assert watch.rows()[2:] == [
        ["aa apgd-ce", "45/45", "25", share(25, 50)],
        ["aa square", "10/25", "24", share(24, 50)],
    ]


def test_the_time_left_is_the_work_left_at_the_speed_of_the_work_done(watch):
    assert watch.left() is None
    watch.take(AttackProgress("clean", "clean", 0, 100))
    watch.now[0] = 30.0
    watch.take(AttackProgress("pgd20", "pgd", 0, 50))
    apgd, square, fmn = (1 + 11 * 2) * 50, 53 * 50, 20 * 50  # seconds by the pace: forwards cost 1, gradients 2
    probes = 10 * (100 * 2 + 3 * 20 * 2)
    done, to_do = 50 * 20, 50 * 20 + apgd + square + fmn + probes
    assert watch.left() == pytest.approx(30 * to_do / done)


def test_a_finished_evaluation_has_no_time_left(watch):
    everything = [("pgd20", "pgd", 0, 100), ("aa", "apgd-ce", 50, 50), ("aa", "square", 0, 0), ("min", "fmn", 50, 50)]
    everything += [("pgd100", "pgd", 0, 10), ("far", "pgd", 10, 10)]
    everything += [("unbounded", "pgd", 10, 10), ("path", "pgd", 0, 10)]
    for event in [("clean", "clean", 0, 100), *everything]:
        watch.now[0] += 1
        watch.take(AttackProgress(*event))
    assert watch.left() == 0


def test_a_probe_is_shown_as_one(watch):
    for event in (("clean", "clean", 0, 100), ("pgd20", "pgd", 5, 100), ("far", "pgd", 9, 10)):
        watch.take(AttackProgress(*event))
    assert watch.rows()[-1] == ["probe far", "10/10", "1", share(1, 10)]


def test_where_nobody_watches_each_attack_leaves_a_line_at_its_end(watch):
    said = io.StringIO()
    with watching(watch, Console(file=said, width=200)) as on_progress:
        on_progress(AttackProgress("clean", "clean", 10, 100))
        for _ in range(4):
            on_progress(AttackProgress("pgd20", "pgd", 5, 20))
        assert said.getvalue().count("\n") == 1
        watch.now[0] = 9.0
        on_progress(AttackProgress("pgd20", "pgd", 5, 10))
        for images in (20, 20, 5):
            on_progress(AttackProgress("aa", "apgd-ce", images, images))
        for _ in range(3):
            on_progress(AttackProgress("aa", "square", 0, 0))  # nothing is left, but its batches are counted
        on_progress(AttackProgress("min", "fmn", 20, 20))
    lines = said.getvalue().splitlines()
    assert lines[0] == f"net: clean: 90 of 100 survive, {share(90, 100)} %"
    assert lines[1].startswith(f"net: pgd20: 65 of 90 survive, {share(65, 100)} %; about ")
    assert lines[2].startswith(f"net: aa apgd-ce: 0 of 45 survive, {share(0, 50)} %; about ")
    assert lines[3].startswith(f"net: aa square: 0 of 0 survive, {share(0, 50)} %; about ")
    assert len(lines) == 4


def test_corruptions_have_a_line_each_and_their_passes_are_part_of_the_time(watch):
    corrupt = CorruptSuite.model_construct(corruptions=["fog", "snow"], severities=[1, 3])
    plan = replace(watch.plan, attack_sequences={"pgd20": PGD}, corrupt=corrupt)
    made = Watch("net", plan, 100, AttackSpeed(PassTime(0.0, 1.0), PassTime(0.0, 2.0), 20))
    made.take(AttackProgress("clean", "clean", 10, 100))
    made.take(AttackProgress("pgd20", "pgd", 0, 90))
    made.take(AttackProgress("corruptions", "fog", 20, 100))
    assert made.rows()[2:] == [["corrupted fog", "100/200", "80", "80.0"]]
    lines = [line.partition(";")[0] for line in made.new_lines()]
    made.take(AttackProgress("corruptions", "fog", 30, 100))
    lines += [line.partition(";")[0] for line in made.new_lines()]
    assert lines == ["net: corrupted fog: 150 of 200 are right, 75.0 %"]
    watch.now[0] = made.spent / 2  # twice as fast as was thought
    assert made.left() == pytest.approx(2 * 100 * 1.0 / 2)
