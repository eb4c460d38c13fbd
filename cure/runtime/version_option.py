"""Define the option `cure --version`."""

from typing import Annotated

import typer

from cure.runtime.version import version


def _show(wanted: bool) -> None:
    if wanted:
        print(f"cure {version()}")
        raise typer.Exit


Shown = Annotated[bool, typer.Option("--version", callback=_show, is_eager=True, help="Print the version and exit.")]


def version_option(shown: Shown = False) -> None:
    """Accept `--version` before any command. The help text of `cure` is that of its Typer app."""
