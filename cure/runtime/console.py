"""Printed tables."""

from rich.console import Console
from rich.table import Column, Table


def page() -> Console:
    """Return a console for standard output: as wide as the terminal, or wide enough for any table without one."""
    console = Console(emoji=False, markup=False)
    return console if console.is_terminal else Console(width=160, emoji=False, markup=False)


def ruled(*names: str) -> Table:
    """Return a table with these headings; on a narrow terminal it breaks the text of its cells and loses no digit."""
    return Table(*(Column(name, overflow="fold") for name in names))
