"""index.html: the whole report in one file that needs no network; page.html is its template."""

import base64
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from PIL import Image

from cure.core.names import heading
from cure.reporting.table import Row
from cure.settings.sections import ReportText

TEMPLATE = Path(__file__).with_name("page.html")
LONG = 25
"""A table of more lines is folded, and scrolls."""


@dataclass(frozen=True)
class Section:
    """One of the report's Markdown pages, as a part of this one."""

    name: str
    title: str
    html: str  # escaped already
    table: str  # its CSV, if it has one


@dataclass(frozen=True)
class Picture:
    """A figure with what captions.json says of it; `source` is empty and `reason` given where it was left out."""

    name: str
    caption: str
    source: str
    size: tuple[int, int]
    reason: str
    table: str

    @property
    def title(self) -> str:
        """rgp -> RGP, layers_curves -> Layers curves."""
        return heading(self.name)


@dataclass(frozen=True)
class Head:
    """The first part of the page: title and note, the table, and what was measured on what."""

    text: ReportText
    names: list[str]
    rows: list[Row]
    about: list[str]


def page(head: Head, folder: Path, pages: dict[str, str]) -> str:
    """The page of the report that lies in `folder`; `pages` are its Markdown pages in their order, by name."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    sections = [section(name, content, folder) for name, content in pages.items()]
    made = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        text=head.text,
        long=LONG,
        head=head.names,
        body=head.rows,
        about=head.about,
        sections=sections,
        pictures=pictures(folder / "figures"),
    )
    return made + "\n"


def section(name: str, content: str, folder: Path) -> Section:
    """Markdown to HTML: its first heading is the title, the others move down, tables can scroll; HTML is escaped."""
    first, _, rest = content.partition("\n")
    reader = MarkdownIt("js-default")
    tokens = reader.parse(rest)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1]) + 1}"
    html = re.sub(
        "<table>.*?</table>", _framed, str(reader.renderer.render(tokens, reader.options, {})), flags=re.DOTALL
    )
    table = f"{name}.csv" if (folder / f"{name}.csv").exists() else ""
    return Section(name, first.removeprefix("# "), html, table)


def _framed(table: re.Match[str]) -> str:
    """A table that scrolls sideways where it is too wide, and is folded where it is long."""
    lines = table[0].count("<tr>") - 1
    framed = f'<div class="wide" tabindex="0" role="region" aria-label="Table">{table[0]}</div>'
    return framed if lines <= LONG else f'<details class="long"><summary>Show {lines} lines</summary>{framed}</details>'


def pictures(folder: Path) -> list[Picture]:
    """Whatever captions.json lists, in its order; nothing where no figure was drawn yet."""
    path = folder / "captions.json"
    listed = json.loads(path.read_text()) if path.exists() else {}
    return [_picture(folder, name, said) for name, said in listed.items()]


def _picture(folder: Path, name: str, said: dict[str, Any]) -> Picture:
    source, size = inlined(folder / said["file"]) if "file" in said else ("", (0, 0))
    return Picture(name, said["caption"], source, size, said.get("reason", ""), said.get("table", ""))


def inlined(path: Path) -> tuple[str, tuple[int, int]]:
    """A picture as a data URL, recoded as lossless WebP, which takes a third of the bytes; and its size in pixels."""
    with Image.open(path) as picture:
        small = io.BytesIO()
        picture.convert("RGB").save(small, "webp", lossless=True)
        return f"data:image/webp;base64,{base64.b64encode(small.getvalue()).decode()}", picture.size
