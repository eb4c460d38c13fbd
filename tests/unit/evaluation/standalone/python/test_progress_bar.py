"""The bar of `evaluate`: it counts every batch, on a terminal alone."""

import pytest

from cure import evaluate
from cure.evaluation.standalone import api
from cure.evaluation.standalone.measure import measure
from cure.evaluation.standalone.python.progress_bar import batches


def evaluated(net, test_images, attacks="clean, pgd20", **how):
    return evaluate(net, test_images[0][:10], test_images[1][:10], attacks=attacks, batch=4, classes=10, **how)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


def test_the_bar_ends_full_and_names_attacks(trained, test_images, terminal, capsys):
    evaluated(trained, test_images)
    shown = capsys.readouterr()
    assert "16/16" in shown.err  # clean; pgd20 in 3 batches; four probes of the masking report in 3 batches each
    assert "path pgd: broke" in shown.err
    assert shown.out == ""


def test_progress_false_shows_nothing(trained, test_images, terminal, capsys):
    evaluated(trained, test_images, progress=False)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_nothing_is_shown(trained, test_images, monkeypatch, capsys):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    evaluated(trained, test_images)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("attacks", "how"),
    [("clean", {}), ("pgd20", {}), ("pgd20, min_l2, fgsm", {}), ("pgd20", {"norm": "L2", "corruptions": [1, 2]})],
)
def test_as_many_events_come_as_are_expected(trained, test_images, attacks, how, monkeypatch):
    events, expected = [], []

    def counting(subject, images, plan, checks, units, on_progress):
        expected.append(batches(plan, len(images.examples)))
        return measure(subject, images, plan, checks, units=units, on_progress=events.append)

    monkeypatch.setattr(api, "measure", counting)
    found = evaluated(trained, test_images, attacks, **how)
    measured = 2 * len(found.corrupted.correct) if found.corrupted else 0  # of two severities; frost needs a package
    assert expected == [len(events) - measured + found.plan.corrupted_sets]
