"""The view of a grid: the state of every stage and the time to go, whole on a terminal of any width."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from cure.pipeline.grid import attempts
from cure.pipeline.grid.board import INTERVAL, Board, Row
from cure.pipeline.grid.dag import Dag
from cure.runtime.progress import append, clock, shown
from tests.support import terminal
from tests.support.terminal import ELLIPSIS, broken, cells, drawn

LONG = "attack_update_from_natural_to_revise@digits-small-cure-0"
FAILED = "analyse@digits-small-part-0"
WHY = "params.yaml: attack.columns.pgd20.steps: Input should be a valid integer; found [20, 40]; allowed: 1 to 1000"


def dag(folder: Path, needs: dict[str, list[str]], done: set[str] | None = None) -> Dag:
    return Dag(folder, needs, {}, frozenset(done or ()), frozenset(), [], folder)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    passing = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: passing[0])
    monkeypatch.setattr(time, "time", lambda: passing[0])
    return passing


@pytest.fixture
def board(tmp_path: Path, now: list[float]) -> Callable[[Console], Board]:
    """A board with a stage in each state: after an hour the running one has done twelve of seventeen steps."""

    def made(console: Console) -> Board:
        needs = {
            "prepare": [],
            "update@a": ["prepare"],
            LONG: ["update@a"],
            FAILED: [],
            "report": [LONG],
            "last": [FAILED],
        }
        now[0] = 1000.0
        made = Board(dag(tmp_path, needs, {"prepare"}), console)
        for stage in ("update@a", LONG, FAILED):
            made.queued(stage)
            append(made.dag.progress(stage), {"worker": "node-17.cluster cuda:3", "time": now[0]})
        made.ended(FAILED, "failed", WHY)
        now[0] += 3600.0
        made.ended("update@a", "done")
        for done in (11, 12):
            now[0] += 60.0
            note = "aa apgd-t: broke 2 of 35"
            append(made.dag.progress(LONG), {"label": LONG, "done": done, "total": 17, "note": note, "time": now[0]})
        made.refresh()
        return made

    return made


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_stage_step_and_times_are_whole_at_every_width(board: Callable[[Console], Board], width: int) -> None:
    lines = drawn(board(terminal.console(width)), width)
    assert not broken(lines, ["prepare", "update@a", LONG, FAILED, "12/17", "0:05:00", "failed", "done", "up to date"])
    assert not broken(lines, WHY.split())
    assert ELLIPSIS not in "".join(lines)
    assert all(len(line) <= width for line in lines)


def test_a_wide_terminal_shows_worker_and_last_step_too(board: Callable[[Console], Board]) -> None:
    lines = cells(drawn(board(terminal.console(200)), 200))
    row = [LONG, "running", "12/17", "0:05:00", "node-17.cluster cuda:3", "aa apgd-t: broke 2 of 35"]
    assert row in lines
    assert row[:4] + row[5:] in cells(drawn(board(terminal.console(120)), 120))
    assert row[:4] in cells(drawn(board(terminal.console(100)), 100))
    assert [LONG, "12/17", "0:05:00"] in cells(drawn(board(terminal.console(80)), 80))


@pytest.mark.parametrize("height", [12, 20])
def test_a_view_is_no_higher_than_its_terminal_and_shows_what_failed_and_runs_first(
    board: Callable[[Console], Board], height: int
) -> None:
    on = terminal.console(80, height)
    view = board(on)
    view.rows |= {f"waiting@{i}": Row(f"waiting@{i}") for i in range(99)}
    lines = drawn(view, 80)
    assert len(lines) < height
    assert not broken(lines, [LONG, FAILED])


def test_the_view_goes_away_when_a_stage_fails_or_the_grid_is_interrupted(board: Callable[[Console], Board]) -> None:
    on = terminal.console(80)
    view = board(on)
    with suppress(KeyboardInterrupt), shown(view, view.new_lines, on) as report:
        report()
        raise KeyboardInterrupt
    assert LONG in on.file.getvalue()
    assert terminal.seen(on) == [""]


def test_the_total_time_to_go_is_said_once_there_is_a_base(tmp_path: Path, now: list[float]) -> None:
    names = "abcd"
    needs = {f"train@{name}": list[str]() for name in names} | {"report": [f"train@{name}" for name in names]}
    board = Board(dag(tmp_path, needs), Console())
    board.slots = 2
    for name in "ab":
        board.queued(f"train@{name}")
        append(board.dag.progress(f"train@{name}"), {"worker": "node cpu", "time": now[0]})
    board.refresh()
    assert board.left is None
    assert "to go" not in board.summary
    now[0] += 100.0
    board.ended("train@a", "done")
    now[0] += 20.0
    board.refresh()
    # b runs over the 100 s of a; c takes the free worker, d the one of b; then the report, as long as the others
    assert board.left == 200.0
    assert board.summary.endswith("3 waiting; about 0:03:20 to go")


def test_without_a_terminal_the_total_is_printed_now_and_then(
    board: Callable[[Console], Board], now: list[float]
) -> None:
    view = board(Console())
    assert f"{view.dag.folder.name}: " not in "\n".join(list(view.new_lines())[1:])
    now[0] += INTERVAL + 1
    view.refresh()
    assert view.summary in list(view.new_lines())
    assert view.summary not in list(view.new_lines())


def test_what_depends_on_a_failed_stage_takes_no_time(board: Callable[[Console], Board]) -> None:
    view = board(Console())
    assert view.rows["last"].state == "waiting"
    usual = (3600.0 + 3720.0 + 300.0) / 2
    assert view.left == pytest.approx(300.0 + usual)


def test_a_row_has_the_step_and_the_time_to_go_of_the_last_attempt():
    def event(done, note, time):
        return {"label": "train a", "done": done, "total": 9, "note": note, "time": time}

    row = Row("train@a")
    row.read(attempts.parse([{"worker": "node cpu", "time": 0}, event(0, "", 1.0)]))
    assert (row.state, row.step, row.to_go, row.attempts) == ("running", "0/9", "", 1)
    again = [{"worker": "node cuda:1", "time": 20.0}, event(0, "", 30.0)]
    resumed = [event(n, "resumed", 30.0) for n in (1, 2, 3)]
    trained = [event(n, "val_pgd 0.5", 100.0 * n) for n in (4, 5)]
    row.read(attempts.parse([{"worker": "node cpu", "time": 0}, *again, *resumed, *trained]))
    assert (row.worker, row.attempts, row.step, row.note) == ("node cuda:1", 2, "5/9", "val_pgd 0.5")
    assert row.to_go == clock(4 * (100 + 370) / 2, hours=True) == "0:15:40"


def test_a_board_prints_a_line_for_each_new_state_and_attempt_and_now_and_then_one_for_a_running_stage(
    tmp_path, monkeypatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: now[0])
    needs = {"prepare": [], "train@a": ["prepare"], "report": ["train@a"]}
    board = Board(dag(tmp_path, needs, {"prepare"}), Console())
    path = board.dag.progress("train@a")
    board.queued("train@a")
    assert list(board.new_lines()) == []
    append(path, {"worker": "node cpu", "time": now[0]})
    board.refresh()
    assert list(board.new_lines()) == ["train@a: running on node cpu"]
    append(path, {"label": "train a", "done": 1, "total": 3, "note": "val_pgd 0.5", "time": now[0]})
    board.refresh()
    assert list(board.new_lines()) == []
    now[0] += INTERVAL + 1
    assert list(board.new_lines()) == ["train@a: running on node cpu 1/3 val_pgd 0.5"]
    append(path, {"worker": "node cpu", "time": now[0]})
    board.refresh()
    assert list(board.new_lines()) == ["train@a: running on node cpu, attempt 2"]
    now[0] += 1
    board.ended("train@a", "done")
    assert list(board.new_lines()) == ["train@a: done on node cpu, attempt 2 after 0:01:02"]
    assert list(board.new_lines()) == []
    assert {state: board.count(state) for state in ("done", "up to date", "waiting")} == dict.fromkeys(
        ("done", "up to date", "waiting"), 1
    )
