"""What commands have in common: their arguments, their exit codes, errors in plain words, and printed tables."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
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
MethodName = Annotated[str, typer.Argument(help="A method of params.yaml: an entry of cure/methods.", metavar="METHOD")]
Seed = Annotated[
    int, typer.Argument(help="Decides weights, order, augmentation and noise.", min=0, max=SEEDS - 1, metavar="SEED")
]


INTERRUPTED = 130


def stage(main: Callable[..., None]) -> NoReturn:
    """Run a stage's main function as a command that exits with 2 after a UserError and with 130 after Ctrl-C."""

    @wraps(main)
    def interruptible(*args: object, **kwargs: object) -> None:
        try:
            main(*args, **kwargs)
        except KeyboardInterrupt:
            interrupted()

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.command()(interruptible)
    try:
        app()
    except UserError as error:
        refuse(error)
    sys.exit(0)


def interrupted() -> NoReturn:
    """Print how to resume and exit with 130."""
    print("interrupted; rerun to resume", file=sys.stderr)
    raise typer.Exit(INTERRUPTED) from None


def refuse(error: UserError) -> NoReturn:
    """Print the error and exit with 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def warn(path: object, lines: Sequence[str]) -> None:
    """Print to stderr the mistakes in a params.yaml that stop nothing."""
    if lines:
        said = "\n  ".join([f"warning: {path}: mistakes in what no run of the grid uses:", *lines])
        print(said, file=sys.stderr)


def page() -> "Console":
    """Return a console for standard output: as wide as the terminal, or wide enough for any table without one."""
    from rich.console import Console

    console = Console(emoji=False, markup=False)
    return console if console.is_terminal else Console(width=160, emoji=False, markup=False)


def ruled(*names: str) -> "Table":
    """Return a table with these headings; on a narrow terminal it breaks the text of its cells and loses no digit."""
    from rich.table import Column, Table

    return Table(*(Column(name, overflow="fold") for name in names))
