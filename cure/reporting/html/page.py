"""Build index.html: the report in one file that works offline, from page.html, page.css and page.js."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from PIL import Image

from cure.core.figure import marker, style
from cure.core.names import NAMES, heading
from cure.reporting.comparison.pairs_page import MATRIX
from cure.reporting.dark import turned
from cure.reporting.figures import webp
from cure.reporting.html import charts, gallery, matrix, papers, problems
from cure.reporting.results import AttackResults
from cure.reporting.table import Number, Row
from cure.settings.sections import ReportText

PARTS = {name: Path(__file__).with_name(name) for name in ("page.html", "page.css", "page.js", "matrix.html")}
LONG = 25
"""A table of more lines than this is folded."""
EMPTY = {
    "findings": "Findings",
    "claims": "Ours beside the papers'",
    "pairs": "Pairs",
    "ranks": "Ranks",
    "overfitting": "Robust overfitting",
    "corruptions": "Common corruptions",
    "attacks": "Every attack",
}
"""Name -> title of each section of a complete report. A section without a page shows NOTHING."""


@dataclass(frozen=True)
class Section:
    """A Markdown page of the report as a section of index.html."""

    name: str
    title: str
    html: str  # safe: HTML in the source is escaped
    table: str  # name of its CSV; empty if it has none


@dataclass(frozen=True)
class Picture:
    """A figure with the texts of captions.json. If it was left out, `source` is empty and `reason` is not."""

    name: str
    caption: str
    source: str
    dark: str
    size: tuple[int, int]
    reason: str
    table: str

    @property
    def title(self) -> str:
        """Return the heading: RGP for rgp, Layers curves for layers_curves."""
        return heading(self.name)


@dataclass(frozen=True)
class Head:
    """The first part of the page: title and note, the table, and the facts below it (`about`)."""

    text: ReportText
    names: list[str]
    rows: list[Row]
    about: list[str]
    root: str  # path of the repository, relative to the pipeline folder


@dataclass(frozen=True)
class Measured:
    """The data that the page shows in addition to its Markdown pages; empty if nothing was run."""

    attacks: AttackResults = field(default_factory=dict)
    pairs: pd.DataFrame = field(default_factory=pd.DataFrame)
    titles: dict[str, str] = field(default_factory=dict)  # column in `pairs` -> its heading
    dark: dict[str, bytes] = field(default_factory=dict)  # name of a figure -> its dark form as WebP


@dataclass(frozen=True)
class Method:
    """The colours and the marker of a method, its paper, and its section of docs/methods.md."""

    name: str
    colour: str
    dark: str
    shape: str
    paper: papers.Paper
    section: str


def page(head: Head, measured: Measured, folder: Path, pages: dict[str, str]) -> str:
    """Return index.html of the report in `folder`; `pages` maps the names of its Markdown pages to their texts."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = {name: path.read_text(encoding="utf-8") for name, path in PARTS.items()}
    frames = iter(matrix.matrices(measured.pairs, measured.titles) if measured.titles else [])
    shown = (environment.from_string(template["matrix.html"]).render(matrix=one) for one in frames)
    sections = [section(name, content, folder, shown) for name, content in pages.items()]
    lacking = [Section(name, title, NOTHING, "") for name, title in EMPTY.items() if name not in pages]
    drawn = charts.charts(folder / "data") if measured.dark else {}
    made = environment.from_string(template["page.html"]).render(
        text=head.text,
        long=LONG,
        head=head.names,
        body=head.rows,
        ranges=ranges(head.rows),
        about=[fact for fact in head.about if not fact.startswith("Problem: ")],
        problems=problems.plain(measured.attacks),
        sections=sections + lacking,
        nothing=NOTHING,
        pictures=pictures(folder / "figures", measured.dark),
        charts=drawn,
        bundle=charts.bundle() if drawn else "",
        walls=gallery.gallery(measured.attacks),
        methods=methods(head.rows, head.root),
        software=papers.SOFTWARE,
        style=environment.from_string(template["page.css"]).render(long=LONG),
        script=template["page.js"],
    )
    return made + "\n"


NOTHING = "<p>Empty: no run of this grid is finished yet.</p>"


def methods(rows: list[Row], root: str) -> dict[str, Method]:
    """Return the methods of the table, by their names in it."""
    keys = {name: key for key, name in NAMES.items()}
    found = {}
    for name in dict.fromkeys(row.method for row in rows):
        key, colour = keys.get(name, name), style(keys.get(name, name))[0]
        shape = charts.OUTLINES[marker(key)]
        found[name] = Method(name, colour, turned(colour), shape, papers.paper(key), papers.section(key, root))
    return found


def ranges(rows: list[Row]) -> list[tuple[float, float]]:
    """Return the lowest and the highest end of the intervals of each column, to scale its bars."""
    columns = zip(*(row.numbers for row in rows), strict=True)
    return [_range([number for number in column if number]) for column in columns]


def _range(numbers: list[Number]) -> tuple[float, float]:
    ends = [end for number in numbers for end in (number.value, *(number.ends or ())) if end == end]
    low, high = (min(ends), max(ends)) if ends else (0.0, 100.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def section(name: str, content: str, folder: Path, frames: Iterator[str]) -> Section:
    """Convert a Markdown page to a section: its first line becomes the title, other headings move down one level.

    Tables get a frame that scrolls, and HTML is escaped. Each matrix in Markdown is replaced by the next of `frames`.
    """
    first, _, rest = content.partition("\n")
    reader = MarkdownIt("js-default")
    tokens = reader.parse(rest)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1]) + 1}"

    title, number = first.removeprefix("# "), count(1)

    def framed(table: re.Match[str]) -> str:
        label = f"Table {next(number)} of {title}"
        return next(frames) if f">{MATRIX}</th>" in table[0] else _framed(table[0], label)

    html = re.sub(
        "<table>.*?</table>", framed, str(reader.renderer.render(tokens, reader.options, {})), flags=re.DOTALL
    )
    table = f"{name}.csv" if (folder / f"{name}.csv").exists() else ""
    return Section(name, title, html, table)


def _framed(table: str, label: str) -> str:
    """Wrap a table in a frame that scrolls sideways; fold it if it has more than LONG lines."""
    lines = table.count("<tr>") - 1
    table = re.sub("<th(| [^>]*)></th>", "<td></td>", table)  # an empty cell is not a heading
    framed = f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'
    return framed if lines <= LONG else f'<details class="long"><summary>Show {lines} lines</summary>{framed}</details>'


def pictures(folder: Path, dark: dict[str, bytes]) -> list[Picture]:
    """Return the figures that captions.json lists, in its order; empty if there is no captions.json."""
    path = folder / "captions.json"
    listed = json.loads(path.read_text()) if path.exists() else {}
    return [_picture(folder, name, said, dark.get(name, b"")) for name, said in listed.items()]


def _picture(folder: Path, name: str, said: dict[str, Any], dark: bytes) -> Picture:
    source, size = inlined(folder / said["file"]) if "file" in said else ("", (0, 0))
    return Picture(name, said["caption"], source, _url(dark), size, said.get("reason", ""), said.get("table", ""))


def inlined(path: Path) -> tuple[str, tuple[int, int]]:
    """Return a picture as a data URL, and its size in pixels. WebP takes a third of the bytes of PNG."""
    with Image.open(path) as picture:
        return _url(webp(picture)), picture.size


def _url(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}" if webp else ""
