"""What commands have in common: their arguments, their exit codes, and errors in plain words."""

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

from cure.core.bounds import SEEDS
from cure.errors import UserError
from cure.runtime.stage_line import stage_line

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

    What it returns is printed in the stage's last line.
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
    """Run a command; exit with 2 and a line on stderr where a user, a path, the folder or the output is at fault."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else a terminal of ASCII would end the command at the first ±
            stream.reconfigure(errors="replace")
    try:
        _refuse_deleted_folder()
        try:
            app()
        finally:
            if sys.stdout:
                sys.stdout.flush()  # here, where it can still be told that nothing of it was written
    except UserError as error:
        refuse(error)
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
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
"""Of a print, which names no file."""


def _refuse_deleted_folder() -> None:
    """Refuse to begin in a folder that is gone: PyTorch ends a process that has none."""
    try:
        Path.cwd()
    except OSError:
        raise UserError("the working folder was deleted; change to one that is there") from None


def _discard(stream: TextIO) -> None:
    """Send what `stream` holds to nowhere, so that the interpreter does not try to write it again at its end."""
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
    """Return a text as stderr shows it: on a terminal its lines are broken between words."""
    if not (sys.stderr and sys.stderr.isatty()):
        return text
    from rich.console import Console

    from cure.runtime.console import wrapped

    return wrapped(text, Console(stderr=True).width)


def warn(path: object, lines: Sequence[str]) -> None:
    """Print to stderr the mistakes in a params.yaml that stop nothing."""
    if lines:
        said = "\n  ".join([f"warning: {path}: mistakes in what no run of the grid uses:", *lines])
        print(_lines(said), file=sys.stderr)
