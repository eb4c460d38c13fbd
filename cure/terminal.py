"""What a person sees of a long command: a progress bar on a terminal, silence elsewhere, errors in plain words."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from cure.errors import Refused


def stage(main: Callable[..., None]) -> NoReturn:
    """Run a stage's main function as a command; a refusal is printed and exits with 2."""
    try:
        typer.run(main)
    except Refused as refused:
        refuse(refused)
    sys.exit(0)


def refuse(refused: Refused) -> NoReturn:
    """Print why and exit with 2."""
    print(f"error: {refused}", file=sys.stderr)
    sys.exit(2)


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """A callable that advances a bar by one and shows a text; the bar exists only on a terminal.

    The remaining time is estimated from the steps of this run, so a resumed run starts an estimate of its own.
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

        def advance(note: str = "") -> None:
            bar.update(task, advance=1, note=note)

        yield advance
