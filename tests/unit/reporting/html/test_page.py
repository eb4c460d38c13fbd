"""index.html: what stands in it, and how it behaves in a real browser, opened from the disk."""

import os
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cure.reporting.html.page import section

SIZE = 4 * 2**20
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


class Links(HTMLParser):
    """Every address that the page loads or points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset") or (name, tag) == ("href", "link"):
                self.loaded.append(value or "")
            elif name == "href":
                self.linked.append(value or "")


@pytest.fixture(scope="module")
def text(reports: Path) -> str:
    return (reports / "index.html").read_text()


def test_it_is_one_small_file_that_loads_nothing(text: str) -> None:
    assert len(text.encode()) < SIZE
    assert {address.partition(",")[0] for address in Links(text).loaded} <= {"data:image/webp;base64", "data:"}
    assert "@import" not in text
    assert "url(" not in text


def test_every_file_that_it_links_to_lies_beside_it(text: str, reports: Path) -> None:
    linked = Links(text).linked
    assert [name for name in linked if not name.startswith("#") and not (reports / name).is_file()] == []
    assert [name for name in linked if name.startswith("#") and f'id="{name[1:]}"' not in text] == []
    assert {"table.md", "pairs.csv", "overfitting.csv", "corruptions.csv", "attacks.csv"} <= set(linked)


def test_what_comes_from_params_is_escaped(text: str) -> None:
    assert "<script>alert(" not in text
    assert "&lt;script&gt;alert(" in text


def test_html_in_a_markdown_page_is_escaped_and_long_tables_are_folded(tmp_path: Path) -> None:
    table = ["| a |", "| ---: |", *(f"| {i} <b>x</b> |" for i in range(30))]
    made = section("pairs", "\n".join(["# Title", "", "<img src=x>", "", "## Part", "", *table]), tmp_path, iter(()))
    assert made.title == "Title"
    assert "<img" not in made.html
    assert "<b>" not in made.html
    assert "<h3>Part</h3>" in made.html
    assert "<summary>Show 30 lines</summary>" in made.html


def test_figures_that_are_missing_are_named_with_the_reason(text: str) -> None:
    assert "<li>Criticality: no RiFT row in this grid.</li>" in text


# ---- in a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    found = os.environ.get("CURE_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no {' or '.join(BROWSERS)} in PATH, and CURE_CHROMIUM names none")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, reports: Path) -> Iterator[Any]:
    """The page, open in the light, with what it asked for and complained of."""
    context = chromium.new_context(color_scheme="light", viewport={"width": 1200, "height": 900})
    page, address = context.new_page(), (reports / "index.html").as_uri()
    page.wrong, page.asked = [], []
    page.on("console", lambda message: page.wrong.append(message.text))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    yield page
    assert page.wrong == []
    assert [url for url in page.asked if url != address and not url.startswith("data:")] == []
    context.close()


def column(page: Any, place: int) -> list[str]:
    cells = page.locator(f"#results tbody tr > :nth-child({place})").all_inner_texts()
    return [cell.strip() for cell in cells]


def numbers(page: Any, place: int) -> list[float]:
    return [float(cell.split()[0].rstrip("†")) for cell in column(page, place)]


@pytest.mark.browser
def test_it_opens_from_the_disk_with_every_picture(opened: Any, reports: Path) -> None:
    pictures = opened.evaluate("[...document.images].map((image) => [image.complete, image.naturalWidth])")
    assert len(pictures) == len(list((reports / "figures").glob("*.png")))
    assert all(complete and width > 0 for complete, width in pictures)


@pytest.mark.browser
def test_a_heading_sorts_by_number_both_ways(opened: Any) -> None:
    heading = opened.locator("#results th:nth-child(3)")
    for state, falling in (("descending", True), ("ascending", False), ("descending", True)):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == state
        assert numbers(opened, 3) == sorted(numbers(opened, 3), reverse=falling)
    assert opened.locator("#results th[aria-sort=ascending]").count() == 0
    assert opened.locator("#results th[aria-sort=descending]").count() == 1


@pytest.mark.browser
def test_a_heading_sorts_by_keyboard_and_words_by_letter(opened: Any) -> None:
    opened.locator("#results th", has_text="Method").get_by_role("button").focus()
    opened.keyboard.press("Enter")
    assert column(opened, 1) == ["AT", "Natural", "TRADES"]
    opened.keyboard.press("Space")
    assert column(opened, 1) == ["TRADES", "Natural", "AT"]


@pytest.mark.browser
def test_every_table_can_be_sorted(opened: Any) -> None:
    headings = opened.locator("table:has(tbody tr:nth-child(2)) thead th", has_text="Method")
    assert headings.count() >= 6
    assert headings.count() == headings.get_by_role("button", include_hidden=True).count()


@pytest.mark.browser
def test_small_numbers_in_scientific_notation_sort_as_numbers(opened: Any) -> None:
    table = opened.locator("#pairs table", has_text="Adjusted").first
    place = table.locator("th").all_inner_texts().index("Adjusted")
    small = table.locator("tbody tr").last.locator("td").nth(place)  # two seeds give no p as small as this
    small.evaluate("(cell) => { cell.textContent = '6e-05' }")
    table.locator("th").nth(place).get_by_role("button").click()
    table.locator("th").nth(place).get_by_role("button").click()
    shown = [float(row.locator("td").nth(place).inner_text()) for row in table.locator("tbody tr").all()]
    assert shown == sorted(shown)
    assert min(shown) < 1e-4


@pytest.mark.browser
def test_dark_is_dark_and_pictures_stay_on_white(opened: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(paper)
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate(paper)
    brightness = [sum(int(part) for part in found[4:-1].split(",")) for found in (light, dark)]
    assert brightness[0] > 600
    assert brightness[1] < 150
    assert (
        opened.evaluate("getComputedStyle(document.querySelector('figure img')).backgroundColor")
        == "rgb(255, 255, 255)"
    )


@pytest.mark.browser
def test_on_a_narrow_screen_tables_scroll_and_the_page_does_not(opened: Any) -> None:
    opened.set_viewport_size({"width": 400, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") == 400
    assert opened.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth > clientWidth)(document.querySelector('.wide'))"
    )


@pytest.mark.browser
def test_headings_stay_in_sight_in_a_long_table(opened: Any) -> None:
    opened.set_viewport_size({"width": 1200, "height": 300})
    region = opened.locator("#corruptions .wide:has(tbody tr:nth-child(3))").first
    region.evaluate("(frame) => { frame.style.maxHeight = '60px'; frame.scrollTop = 40; }")
    tops = region.evaluate(
        "(frame) => [frame, frame.querySelector('th')].map((part) => part.getBoundingClientRect().top)"
    )
    assert abs(tops[0] - tops[1]) < 2


@pytest.mark.browser
def test_a_table_of_25_lines_stands_whole_and_a_longer_one_scrolls(opened: Any) -> None:
    opened.set_viewport_size({"width": 1200, "height": 200})
    cut = """(lines) => {
      const frame = document.querySelector('#corruptions .wide'), body = frame.querySelector('tbody');
      while (body.rows.length < lines) body.append(body.rows[0].cloneNode(true));
      return frame.scrollHeight > frame.clientHeight;
    }"""
    assert [opened.evaluate(cut, lines) for lines in (25, 26)] == [False, True]


@pytest.mark.browser
def test_printed_every_table_is_unfolded(opened: Any) -> None:
    folded = opened.locator("details:not([open])")
    assert folded.count() > 0
    opened.pdf()
    assert folded.count() == 0
