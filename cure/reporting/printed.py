"""Print reports/table.md on a terminal. It imports little, since every `dvc repro` ends with it."""

from pathlib import Path

from rich.text import Text

from cure.errors import UserError, first_sentence
from cure.runtime.console import WholeTable, page, say
from cure.storage.files import read_bytes


def _read(path: Path) -> str:
    try:
        text = read_bytes(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(
            f"{path}: not a complete table: {first_sentence(problem)}; run `cure report` to rewrite it"
        ) from None
    if sum(row.startswith("|") for row in text.splitlines()) < len(("head", "rule")):
        raise UserError(f"{path}: not a complete table: it has no rows; run `cure report` to rewrite it")
    return text


def show(path: Path) -> None:
    """Print a table.md without cutting a cell, whatever the width, and the path of the index.html beside it."""
    text = _read(path)
    split = [[part.strip() for part in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("|")]
    title, settings = text.splitlines()[0].removeprefix("# "), {row[0] for row in split[2:]}
    if len(settings) == 1:
        title, split = f"{title}: {settings.pop()}", [row[1:] for row in split]
    table = WholeTable(*split[0], names=len({"Data / model", "Method"} & {*split[0]}), title=title)
    for row in split[2:]:
        table.add_row(*(Text(part.strip("*"), style="bold" if part.startswith("**") else "") for part in row))
    console = page()
    console.print(table, "")
    for line in text.splitlines():
        if line.startswith("- "):
            say(console, line, "dim")
    if (index := path.with_name("index.html")).exists():
        print(f"report: {index.resolve()}")
