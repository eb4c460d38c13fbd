"""What is seen of a command under way: a bar on a terminal, a file where one is named, and how long is left."""

import io
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from cure.runtime import progress as module
from cure.runtime.progress import Event, append, clock, progress, read, shown, to_go
from tests.support import terminal
from tests.support.terminal import screen


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CURE_PROGRESS", str(tmp_path / "steps"))
    return tmp_path / "steps"


def events(*times: float) -> list[Event]:
    return [Event("update at", done, 9, "", time) for done, time in enumerate(times)]


def test_stages_report_their_steps_to_the_file_that_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with progress("update at", 3, 1) as on_progress:
        on_progress("val_pgd 0.4")
    found = [Event(**line) for line in read(file)]
    assert [(e.label, e.done, e.total, e.note) for e in found] == [
        ("update at", 1, 3, ""),
        ("update at", 2, 3, "val_pgd 0.4"),
    ]
    assert found[0].time <= found[1].time
    monkeypatch.setenv("CURE_PROGRESS", str(file.parent / "nowhere" / "steps"))
    with progress("update at", 3) as on_progress:
        on_progress("a file that cannot be written stops no training")


def test_of_several_processes_the_first_one_reports(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with progress("update at", 3) as on_progress:
        on_progress("val_pgd 0.4")
    assert not file.exists()


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def trained(on: Console, now: list[float], monkeypatch: pytest.MonkeyPatch, seconds: float, steps: int = 2) -> None:
    """Report so many steps of nine, after the first three."""
    monkeypatch.setattr(module, "Console", lambda **_: on)
    with progress(LABEL, 9, 3, unit="epoch") as on_progress:
        for _ in range(steps):
            now[0] += seconds
            on_progress(NOTE)


LABEL, NOTE = "update digits/small/at-s0", "val_clean 0.950 val_pgd 0.512"
KEPT = "5/9 0:03:00 0:06:00 to go"


@pytest.mark.parametrize(
    ("width", "shown"), [(120, {LABEL, NOTE}), (80, {NOTE}), (60, {NOTE}), (45, set()), (27, set())]
)
def test_a_bar_keeps_step_time_and_time_to_go_and_drops_its_label_first(
    width: int, shown: set[str], passing: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = terminal.console(width)
    trained(on, passing, monkeypatch, 90.0)
    (line,) = terminal.seen(on)
    assert KEPT in line
    assert {part for part in (LABEL, NOTE) if part in line} == shown
    assert ("\N{BOX DRAWINGS HEAVY HORIZONTAL}" in line) == (width not in (60, 27))
    assert terminal.ELLIPSIS not in line
    assert len(line) <= width


@pytest.mark.parametrize("dumb", [True, False])
def test_without_a_terminal_a_long_task_prints_a_line_a_minute(
    dumb: bool, passing: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
    on = Console(file=io.StringIO(), width=40, force_terminal=dumb, no_color=True)
    trained(on, passing, monkeypatch, 25.0, steps=6)
    assert on.file.getvalue().splitlines() == [
        f"{LABEL}: epoch 6 of 9, {NOTE}, 0:01:15 to go",  # after 75 seconds, the first step that is due
        f"{LABEL}: epoch 9 of 9, {NOTE}, 0:00:00 to go",
    ]


def test_without_a_terminal_a_task_of_less_than_a_minute_prints_nothing(
    passing: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = Console(file=io.StringIO(), force_terminal=False)
    trained(on, passing, monkeypatch, 9.9, steps=6)
    assert on.file.getvalue() == ""


def test_the_last_line_of_a_file_may_be_half_written(tmp_path: Path) -> None:
    path = tmp_path / "steps"
    assert read(path) == []
    append(path, {"worker": "node cpu"})
    with path.open("a") as out:
        out.write('{"done": 1')
    assert read(path) == [{"worker": "node cpu"}]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((), ""),
        ((5.0,), ""),
        ((5.0, 5.0), ""),  # done before the stage was cut off
        ((0.0, 10.0), "0:01:20"),
        ((0.0, 0.0, 0.0, 10.0), "0:01:00"),
        ((0.0, 100.0, 110.0, 120.0, 130.0, 140.0, 150.0), "0:00:30"),  # of the last five
    ],
)
def test_the_time_to_go_is_that_of_the_last_steps(times: tuple[float, ...], expected: str) -> None:
    assert to_go(events(*times)) == expected


@pytest.mark.parametrize("live", [True, False])
def test_a_view_is_live_on_a_terminal_and_leaves_lines_elsewhere(live: bool) -> None:
    out, new = io.StringIO(), ["first"]
    console = Console(file=out, width=40, force_terminal=live)

    def new_lines() -> list[str]:
        taken = new[:]
        new.clear()
        return taken

    with suppress(KeyboardInterrupt), shown("the table", new_lines, console) as report:
        report()
        report()
        new.append("last")
        raise KeyboardInterrupt
    assert ("the table" in out.getvalue()) == live
    assert screen(out.getvalue(), 40) == ([""] if live else ["first", "last"])  # the view is cleared
    assert (out.getvalue() == "first\nlast\n") == (not live)


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (90.0, "1:30"), (7325.0, "2:02:05")])
def test_times_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00:00"), (90.0, "0:01:30"), (7325.0, "2:02:05")])
def test_times_of_a_table_have_hours(seconds: float, text: str) -> None:
    assert clock(seconds, hours=True) == text
