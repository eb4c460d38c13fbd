"""The picture of a terminal: what is left on it, in its colours, with nothing from a network."""

import re
import sys
from html import unescape

from tests.support.project import ROOT
from tools.terminal_picture import picture, screen, text

PRINTED = "print('gone', end='\\r'); print('\\x1b[31mNO\\x1b[0m left'); print('at most 100 columns')"


def words(svg: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", svg)).replace("\xa0", " ")


def test_the_picture_has_what_is_left_in_its_colours() -> None:
    drawn = text(screen([sys.executable, "-c", PRINTED]))
    assert drawn.plain == "NO left\nat most 100 columns"
    assert [drawn.plain[span.start : span.end] for span in drawn.spans if span.style == "red"] == ["NO"]
    assert "at most 100 columns" in words(picture(drawn, "python"))


def test_the_committed_picture_loads_nothing_and_has_the_table_of_its_command() -> None:
    svg = (ROOT / "docs" / "terminal.svg").read_text()
    assert set(re.findall(r"https?://[^\"<) ]+", svg)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert "font-face" not in svg
    assert "$ cure eval quickstart/weights/digits/small/cure-s0.safetensors" in words(svg)
    assert "NRR (C&W-20)" in words(svg)
