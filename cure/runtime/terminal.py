"""What a person sees of a long command: a progress bar on a terminal, silence elsewhere, errors in plain words."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cure.errors import UserError
from cure.settings.base import SEEDS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Dataset = Annotated[
    str, typer.Argument(help="A data set of params.yaml: an entry of cure/datasets.", metavar="DATASET")
]
Model = Annotated[str, typer.Argument(help="A model of params.yaml: an entry of cure/models.", metavar="MODEL")]
MethodName = Annotated[str, typer.Argument(help="A row of params.yaml: an entry of cure/methods.", metavar="METHOD")]
Seed = Annotated[
    int, typer.Argument(help="Decides weights, order, augmentation and noise.", min=0, max=SEEDS - 1, metavar="SEED")
]


INTERRUPTED = 130


def stage(main: Callable[..., None]) -> NoReturn:
    """Run a stage's main function as a command; a refusal is printed and exits with 2, Ctrl-C with 130."""

    @wraps(main)
    def interruptible(*args: object, **kwargs: object) -> None:
        try:
            main(*args, **kwargs)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on with what is finished", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.command()(interruptible)
    try:
        app()
    except UserError as refused:
        refuse(refused)
    sys.exit(0)


def refuse(refused: UserError) -> NoReturn:
    """Print why and exit with 2."""
    print(f"error: {refused}", file=sys.stderr)
    sys.exit(2)


def page() -> "Console":
    """Standard output: as wide as the terminal, or wide enough for any table where there is none."""
    from rich.console import Console

    console = Console(emoji=False, markup=False)
    return console if console.is_terminal else Console(width=160, emoji=False, markup=False)


def ruled(*names: str) -> "Table":
    """A table with these headings; a narrow terminal breaks its runs and loses no digit."""
    from rich.table import Column, Table

    return Table(*(Column(name, overflow="fold") for name in names))


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """A callable that advances a bar by one and shows a text; the bar exists only on a terminal.

    The remaining time is estimated from the steps of this run, so a resumed run starts an estimate of its own. Where
    CURE_PROGRESS names a file, as `cure grid` does, each step is a line of JSON there as well.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if int(os.environ.get("RANK", "0")) > 0:  # of those that torchrun started, the first one speaks
        yield _unheard
        return
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")
        steps = count(done)
        _note(next(steps), total, "")

        def advance(note: str = "") -> None:
            bar.update(task, advance=1, note=note)
            _note(next(steps), total, note)

        yield advance


def _unheard(note: str = "") -> None:
    pass


def _note(done: int, total: int, note: str) -> None:
    """Tell who watches from outside; no work is lost because nobody can."""
    if path := os.environ.get("CURE_PROGRESS"):
        line = json.dumps({"done": done, "total": total, "note": note, "time": time.time()})
        with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
