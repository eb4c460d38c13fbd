"""Define what commands share: arguments, exit codes, and the output of errors."""

import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer

from cure.errors import UserError
from cure.runtime.stage_line import stage_line
from cure.settings.bounds import SEEDS

Dataset = Annotated[
    str, typer.Argument(help="A data set of params.yaml: an entry of cure/datasets.", metavar="DATASET")
]
Model = Annotated[str, typer.Argument(help="A model of params.yaml: an entry of cure/models.", metavar="MODEL")]
MethodName = Annotated[str, typer.Argument(help="A method of params.yaml: an entry of cure/methods.", metavar="METHOD")]
Seed = Annotated[
    int, typer.Argument(help="Decides weights, order, augmentation and noise.", min=0, max=SEEDS - 1, metavar="SEED")
]


INTERRUPTED = 130


def stage(main: Callable[..., str | None]) -> NoReturn:
    """Run a stage's main function as a command that exits with 2 after a UserError and with 130 after Ctrl-C.

    The text that it returns becomes part of the stage's last line.
    """
    begin = time.monotonic()

    @wraps(main)
    def interruptible(**given: object) -> None:
        try:
            facts = main(**given)
        except KeyboardInterrupt:
            interrupted()
        if facts:
            print(stage_line(sys.argv, given, facts, time.monotonic() - begin))

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.command()(interruptible)
    run(app)
    sys.exit(0)


def run(app: Callable[[], object]) -> None:
    """Run a command; exit with 2 and a line on stderr if input, a path, the folder or the output is at fault."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else an ASCII terminal would end the command at the first ±
            stream.reconfigure(errors="replace")
    try:
        _refuse_deleted_folder()
        try:
            app()
        finally:
            if sys.stdout:
                sys.stdout.flush()  # here, so that a failed write can still be reported
    except UserError as error:
        refuse(error)
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        _discard(sys.stdout)
        sys.exit(1)
    except OSError as problem:
        if problem.filename is not None:
            refuse(UserError(f"{problem.filename}: {problem.strerror or problem}"))
        if problem.errno in UNWRITTEN:
            _discard(sys.stdout)
            refuse(UserError(f"standard output cannot be written: {problem.strerror}"))
        raise


UNWRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""Error numbers of a failed print. Such an error has no file name."""


def _refuse_deleted_folder() -> None:
    """Raise UserError if the working folder was deleted; PyTorch would abort the process."""
    try:
        Path.cwd()
    except OSError:
        raise UserError("the working folder was deleted; change to one that is there") from None


def _discard(stream: TextIO) -> None:
    """Redirect a stream to the null device, so that the interpreter does not fail to write its rest at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def interrupted() -> NoReturn:
    """Print how to resume and exit with 130."""
    print("interrupted; rerun to resume", file=sys.stderr)
    raise typer.Exit(INTERRUPTED) from None


def refuse(error: UserError) -> NoReturn:
    """Print the error and exit with 2."""
    try:
        print(_lines(f"error: {error}"), file=sys.stderr)
    except OSError:
        _discard(sys.stderr)
    sys.exit(2)


def _lines(text: str) -> str:
    """Wrap a text at the width of the terminal if stderr is one."""
    if not (sys.stderr and sys.stderr.isatty()):
        return text
    from rich.console import Console

    from cure.runtime.console import wrapped

    return wrapped(text, Console(stderr=True).width)


def warn(path: object, lines: Sequence[str]) -> None:
    """Print a warning to stderr about mistakes in sections of a params.yaml that no run uses."""
    if lines:
        said = "\n  ".join([f"warning: {path}: mistakes in settings that no run of the grid uses:", *lines])
        print(_lines(said), file=sys.stderr)
