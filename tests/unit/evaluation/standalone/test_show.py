"""What `cure eval` and `cure compare` print on a terminal: every name, number and interval is whole at every width."""

import json
import re

import pytest

from cure.evaluation.standalone import show
from cure.evaluation.statistics.comparison import Table, compare
from tests.support import terminal
from tests.support.command_line import FEW, call
from tests.support.terminal import ELLIPSIS, broken, cells, screen

WIDTHS = (40, 60, 80, 200)


@pytest.fixture(params=WIDTHS)
def width(request, monkeypatch):
    """The width of a terminal that commands run in this process believe to have."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(request.param), "LINES": "50"}.items():
        monkeypatch.setenv(name, value)
    return request.param


@pytest.fixture(scope="module")
def measured(weights, pipeline):
    """What `--json` says of an evaluation, and the words that made it."""
    words = ("eval", weights, *FEW, "--corruptions", "1,3")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pipeline)
        return words, json.loads(call(*words, "--json")[1])[0]


def intervals(found):
    shares = [found["accuracy"][name] for name in ("clean", "pgd20", "worst")]
    return {f"{100 * one['low']:.1f} to {100 * one['high']:.1f}" for one in shares}


def test_cure_eval_prints_whole_numbers_and_intervals(measured, width, pipeline, monkeypatch):
    words, found = measured
    monkeypatch.chdir(pipeline)
    _, shown, said = call(*words)
    lines = screen(shown, width)
    numbers = {f"{100 * one['accuracy']:.2f}" for one in found["accuracy"].values()}
    assert not broken(lines, numbers | intervals(found) | {"natural-s0"})
    assert ELLIPSIS not in shown
    assert all(len(line) <= width for line in lines)
    checks = screen(said, width)
    assert not broken(checks, ["preflight: 15 of 15 checks are green", "ok finite"])
    assert all(len(line) <= width for line in checks)


def test_without_a_terminal_a_network_is_two_lines(measured, pipeline, monkeypatch):
    words, found = measured
    monkeypatch.chdir(pipeline)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    head, _, numbers, spans = cells(call(*words)[1].splitlines()[:4])
    assert head[:3] == ["Network", "Clean", "PGD-20"]
    assert len(head) == len(numbers) == len(spans) + 1
    assert intervals(found) <= set(spans)


@pytest.mark.parametrize("across", WIDTHS)
def test_cure_compare_prints_whole_counts_differences_and_sentences(across, monkeypatch):
    on = terminal.console(across)
    monkeypatch.setattr(show, "page", lambda: on)
    a, b = (Table(name, list(range(60)), {"clean": ones, "aa": ones}, "") for name, ones in FIRST_AND_SECOND.items())
    found = compare(a, b, 0)
    show.comparison(a.name, b.name, found, {"clean": "Clean", "aa": "AA", "worst": "Worst"})
    lines = terminal.seen(on)
    brackets = {text for one in found for text in re.findall(r"\[.*?\]", f"{show._span(one.accuracy)} {one.sentence}")}
    assert brackets
    assert not broken(lines, brackets | {"Clean", "AA", *FIRST_AND_SECOND})
    assert not broken(lines, {f"{one.accuracy[0] * 100:+.2f}" for one in found} | {f"p = {one.p:.2g}" for one in found})
    assert ELLIPSIS not in "".join(lines)
    assert all(len(line) <= across for line in lines)


FIRST_AND_SECOND = {"trades-s0-attack": "1" * 50 + "0" * 10, "cure_eff-s0-attack": "1" * 31 + "0" * 29}
