"""Print tables and sentences without breaking a name, a number or an interval, whatever the width."""

import re
import textwrap
from collections.abc import Collection, Iterator
from functools import partial

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

WITHOUT_TERMINAL = 160  # columns
GAP = 2  # columns between two columns of a table
PROSE = 24  # least width of a column of sentences
UNBROKEN = re.compile(r"\[[^\[\]]{,40}\]|\d\S* to \d\S*|[pn] = \S+|\d\S* (?:%|points|images)")
"""Matches the parts of a sentence that stay on one line: intervals, and numbers with their unit."""


def page() -> Console:
    """Return a console for standard output: as wide as the terminal, or wide enough for most tables without one."""
    console = Console(emoji=False, markup=False)
    return console if console.is_terminal else Console(width=WITHOUT_TERMINAL, emoji=False, markup=False)


def say(console: Console, text: str, style: str = "") -> None:
    """Print a sentence. A terminal gets lines broken between words, a file or pipe gets one line."""
    shown = wrapped(text, console.width) if console.is_terminal else text
    console.print(Text(shown, style=style), soft_wrap=True)


def wrapped(text: str, width: int) -> str:
    """Wrap a text at `width` columns, between words and never within an interval or between a number and its unit."""
    held = UNBROKEN.sub(lambda part: part[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    fill = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    lines = []
    for line in held.split("\n"):
        indent = len(line) - len(line.lstrip(" ")) + 2 if line.startswith(("- ", " ")) else 0
        lines.append(fill(line, subsequent_indent=" " * indent))
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


class WholeTable:
    """A table whose cells are neither cut nor broken.

    Columns that do not fit beside the others follow in a table below, which repeats the names of the rows. Where a
    column does not even fit beside the names, each row becomes a list of its cells.
    """

    def __init__(self, *heads: str, names: int = 1, prose: Collection[str] = (), title: str = "") -> None:
        """Create a table without rows.

        Args:
            heads: The headings, which may be broken between words.
            names: How many columns at the left name a row. The others are numbers, or `prose`.
            prose: The headings of columns with sentences, which may be broken between words.
            title: A line above the table.
        """
        self.heads, self.names, self.prose, self.title = heads, names, prose, title
        self.rows: list[tuple[list[Text], str]] = []

    def add_row(self, *cells: str | Text, style: str = "") -> None:
        """Add a row. A cell may have several lines."""
        self.rows.append(([cell if isinstance(cell, Text) else Text(cell) for cell in cells], style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield the title, and as many tables as the width requires."""
        width = options.max_width
        if self.title:
            yield Text(wrapped(self.title, width) + "\n", style="bold")
        blocks = self._blocks(width)
        if not blocks:
            yield from self._lists(width)
        for place, block in enumerate(blocks):
            if place:
                yield Text()
            yield self._table(block, width)

    @property
    def width(self) -> int:
        """Return the width at which all columns fit beside each other and no heading is broken."""
        return sum(map(self._whole, range(len(self.heads)))) + GAP * (len(self.heads) - 1)

    def _whole(self, column: int) -> int:
        return max(map(cell_len, [self.heads[column], *self._lines(column)]))

    def _lines(self, column: int) -> list[str]:
        return [line for cells, _ in self.rows for line in cells[column].plain.split("\n")]

    def _need(self, column: int) -> int:
        """Return the least width of a column. Its heading may be broken between words."""
        head, cells = self.heads[column], self._lines(column)
        if head in self.prose:
            widest = max((cell_len(word) for line in cells for word in line.split()), default=0)
            cells = [line[: max(PROSE, widest)] for line in cells]
        return max(map(cell_len, [*head.split(), *cells]), default=0)

    def _blocks(self, width: int) -> list[list[int]]:
        """Divide the columns into blocks that fit the width; return [] if a column does not fit beside the names.

        Each block begins with the columns that name the rows.
        """
        need = [self._need(column) for column in range(len(self.heads))]
        names = list(range(self.names))
        blocks = [[*names]]
        for column in range(self.names, len(self.heads)):
            if sum(need[each] + GAP for each in (*blocks[-1], column)) - GAP > width:
                blocks.append([*names])
            blocks[-1].append(column)
            if sum(need[each] + GAP for each in (*names, column)) - GAP > width:
                return []
        return blocks

    def _table(self, block: list[int], width: int) -> Table:
        """Return the table of a block; if it is too wide, break headings and let sentences share the remaining room."""
        wide = [self._whole(column) for column in block]
        room = width - GAP * (len(block) - 1)
        if sum(wide) > room:
            wide = [self._need(column) for column in block]
            prose = [place for place, column in enumerate(block) if self.heads[column] in self.prose]
            for place in prose:
                wide[place] += (room - sum(wide)) // len(prose)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for place, column in enumerate(block):
            left = column < self.names or self.heads[column] in self.prose
            table.add_column(
                Text(self.heads[column]), justify="left" if left else "right", width=wide[place], overflow="fold"
            )
        for cells, style in self.rows:
            table.add_row(*(cells[column] for column in block), style=style)
        return table

    def _lists(self, width: int) -> Iterator[Text]:
        """Yield the rows as lists: the names, and below them each cell with its heading."""
        for cells, style in self.rows:
            yield Text(" ".join(cell.plain for cell in cells[: self.names]), style=style or "bold")
            for head, cell in zip(self.heads[self.names :], cells[self.names :], strict=True):
                if cell.plain:
                    yield Text(wrapped(f"- {head}: {cell.plain}".replace("\n", ", "), width))
