"""How a stage ends, and where its output goes."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest

from cure.errors import UserError
from cure.runtime.terminal import run, stage, warn
from tests.support.terminal import ran


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (None, 0, ""),
        (KeyboardInterrupt(), 130, "interrupted; rerun to resume\n"),
        (UserError("params.yaml: not found"), 2, "error: params.yaml: not found\n"),
        (PermissionError(errno.EACCES, "Permission denied", "weights"), 2, "error: weights: Permission denied\n"),
    ],
)
def test_a_stage_ends_with_a_code_and_a_line(
    problem: BaseException | None,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        if problem:
            raise problem

    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(SystemExit) as end:
        stage(main)
    assert (end.value.code, capsys.readouterr().err) == (code, said)


def test_mistakes_that_stop_nothing_are_told_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    warn("params.yaml", [])
    assert capsys.readouterr().err == ""
    warn("params.yaml", ["a: b", "c: d"])
    said = "warning: params.yaml: mistakes in settings that no run of the grid uses:\n  a: b\n  c: d\n"
    assert capsys.readouterr().err == said


# ---- where the output goes


class Full(io.RawIOBase):
    """A disk without space."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def stream(raw: io.RawIOBase, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding)


@pytest.mark.reliability("faults of disk and memory")
@pytest.mark.parametrize("buffered", [True, False])
def test_output_that_cannot_be_written_is_told_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], buffered: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", stream(Full()))
    with pytest.raises(SystemExit) as end:
        run(lambda: print("x", flush=not buffered))
    said = "error: standard output cannot be written: No space left on device\n"
    assert (end.value.code, capsys.readouterr().err) == (2, said)


@pytest.mark.reliability("faults of disk and memory")
def test_a_full_disk_under_both_streams_ends_with_2_and_no_traceback(tmp_path: Path) -> None:
    code = "from cure.runtime.terminal import run\nrun(lambda: print('x'))"
    with Path("/dev/full").open("w") as full:
        line = [sys.executable, "-c", code]
        assert subprocess.run(line, stdout=full, stderr=full, timeout=60, check=False).returncode == 2
        ended = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_a_reader_that_has_gone_ends_the_command_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone(Full):
        def write(self, data: object) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", stream(Gone()))
    with pytest.raises(SystemExit) as end:
        run(lambda: print("x"))
    assert (end.value.code, capsys.readouterr().err) == (1, "")


def test_another_error_of_the_system_is_no_matter_of_the_output() -> None:
    def out_of_processes() -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with pytest.raises(BlockingIOError, match="Resource temporarily unavailable"):
        run(out_of_processes)


def test_on_a_terminal_a_refusal_is_broken_between_words(tmp_path: Path) -> None:
    why = "weights: not whole; allowed: 0.15 to 0.25, at most 1000 images\\n  run.threads: 0; a number from 1 to 1024"
    code = f"from cure.runtime.terminal import refuse\nfrom cure.errors import UserError\nrefuse(UserError('{why}'))"
    ended, lines = ran([sys.executable, "-c", code], 40, tmp_path)
    assert ended == 2
    assert lines == [
        "error: weights: not whole; allowed:",
        "0.15 to 0.25, at most 1000 images",
        "  run.threads: 0; a number from",
        "    1 to 1024",
    ]


def test_a_path_that_cannot_be_opened_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(lambda: Path("/none/x").read_text())
    assert (end.value.code, capsys.readouterr().err) == (2, "error: /none/x: No such file or directory\n")


def test_characters_that_a_terminal_has_not_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    run(lambda: print("86.76 ± 0.12†"))
    assert raw.getvalue() == b"86.76 ? 0.12?\n"


@pytest.mark.reliability("wrong inputs")
def test_a_deleted_working_folder_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SystemExit) as end:
        run(lambda: pytest.fail("it ran"))
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: the working folder was deleted; change to one that is there\n"
