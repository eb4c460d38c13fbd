"""index.html: what stands in it, and how it behaves in a real browser, opened from the disk."""

import os
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cure.reporting.html.page import EMPTY, Head, Measured, page, ranges, section
from cure.reporting.html.papers import paper
from cure.reporting.table import Number, Row
from cure.settings.sections import ReportText

SIZE = 3_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHARTS = ("curves", "severities", "survival", "tradeoff")
SHADE = """(async () => {
  const image = document.querySelector('.figures img');
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  await image.decode();
  const canvas = document.createElement('canvas').getContext('2d');
  canvas.drawImage(image, 0, 0, 1, 1, 0, 0, 1, 1);
  return Math.max(...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3));
})()"""
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
    style = text[: text.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_every_file_that_it_links_to_lies_beside_it(text: str, reports: Path) -> None:
    linked = [address for address in Links(text).linked if not address.startswith(("https://", "../"))]
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


def test_every_method_with_a_paper_links_to_it_in_the_table_and_at_the_end(text: str) -> None:
    for method in ("at", "trades"):
        assert Links(text).linked.count(paper(method).url) == 2
    methods = {address.partition("#")[0] for address in Links(text).linked if address.startswith("../")}
    assert methods == {"../../docs/methods.md"}  # of the quickstart, in a checkout
    assert "CITATION.cff" in text[text.index('id="cite"') :]


def test_problems_stand_above_the_table_or_their_absence_is_said(text: str) -> None:
    assert text.index("every diagnostic of every evaluation passed") < text.index('id="results"')


def test_a_grid_without_results_says_so_in_every_section(tmp_path: Path) -> None:
    words = ReportText(title="Title", note="Note.", against=[], figures=[])
    rows = [Row("digits/small", name, [None] * 2, ["not run"]) for name in ("AT", "Natural")]
    head = Head(words, ["Data / model", "Method", "Clean", "NRR", "Epoch"], rows, ["a fact"], "..")
    made = page(head, Measured(), tmp_path, {"claims": "# Claims\n\nNone."})
    assert made.count("Empty: no run of this grid is finished yet.") == len(EMPTY)  # all but claims, and the images
    assert "vegaEmbed=" not in made


def test_the_bars_of_a_column_run_over_its_range() -> None:
    numbers = [Number(50.0, None, (40.0, 60.0), ""), Number(90.0, None, (85.0, 95.0), ""), None]
    rows = [Row("digits/small", str(i), [number, None], []) for i, number in enumerate(numbers)]
    assert ranges(rows) == [(40.0, 95.0), (0.0, 100.0)]


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
    page.wait_for_selector("html[data-drawn]")
    page.evaluate("document.querySelectorAll('.part').forEach((part) => (part.open = true))")
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
    drawn = {path.stem for path in (reports / "figures").glob("*.png")}
    assert len(pictures) == len(drawn - set(CHARTS))
    assert opened.locator("[data-chart] svg").count() == len(drawn & set(CHARTS)) > 0
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
def test_dark_is_dark_and_so_are_the_figures(opened: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(paper)
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate(paper)
    brightness = [sum(int(part) for part in found[4:-1].split(",")) for found in (light, dark)]
    assert brightness[0] > 600
    assert brightness[1] < 150
    assert opened.evaluate(SHADE) < 60


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


@pytest.mark.browser
def test_a_method_is_selected_everywhere_and_released_again(opened: Any) -> None:
    opened.get_by_role("button", name="Select TRADES").focus()
    opened.keyboard.press("Enter")
    chosen = opened.locator("tr.chosen").evaluate_all("(rows) => rows.map((row) => row.dataset.method)")
    assert set(chosen) == {"TRADES"}
    assert len(chosen) >= 4
    assert opened.get_by_role("button", name="Select TRADES").get_attribute("aria-pressed") == "true"
    faint = "document.querySelectorAll('[data-chart=tradeoff] .mark-symbol path[opacity=\"0.1\"]').length"
    opened.wait_for_function(f"{faint} > 0")
    opened.get_by_role("button", name="Select TRADES").click()
    assert opened.locator("tr.chosen").count() == 0
    opened.wait_for_function(f"{faint} === 0")


@pytest.mark.browser
def test_a_click_on_a_point_selects_its_method(opened: Any) -> None:
    opened.locator("[data-chart=tradeoff] .mark-symbol.role-mark path").last.click()
    assert opened.locator("#results tr.chosen").count() == 1


@pytest.mark.browser
def test_a_point_tells_its_values(opened: Any) -> None:
    opened.locator("[data-chart=tradeoff] .mark-symbol.role-mark path").last.hover()
    opened.wait_for_selector("#vg-tooltip-element.visible")
    assert "clean (%)" in opened.locator("#vg-tooltip-element").inner_text()


@pytest.mark.browser
def test_the_filter_hides_other_methods_in_every_table(opened: Any) -> None:
    opened.locator("#find").fill("nat, trad")
    assert column(opened, 1) != []
    shown = opened.locator("tr[data-method]:visible").evaluate_all("(rows) => rows.map((row) => row.dataset.method)")
    assert set(shown) == {"Natural", "TRADES"}
    opened.locator("#find").fill("")
    assert opened.locator("#results tbody tr:visible").count() == 3


@pytest.mark.browser
def test_ranks_follow_the_sorted_column(opened: Any) -> None:
    heading = opened.locator("#results th:nth-child(3)")
    heading.get_by_role("button").click()
    ranks = opened.locator("#results tbody th").evaluate_all("(cells) => cells.map((cell) => cell.dataset.rank)")
    assert ranks == ["1", "2", "3"]
    assert opened.locator("#ranked").inner_text() == heading.inner_text()


@pytest.mark.browser
def test_a_number_tells_its_interval_under_the_pointer_touched_and_by_keyboard(opened: Any) -> None:
    cells, tip = opened.locator("#results [data-tip]"), opened.locator(".tip")
    cells.nth(1).hover()
    assert tip.inner_text() == cells.nth(1).get_attribute("data-tip")
    opened.keyboard.press("Escape")
    assert tip.is_hidden()
    cells.nth(2).dispatch_event("click")  # what a touch ends in
    assert tip.inner_text() == cells.nth(2).get_attribute("data-tip")
    cells.nth(0).focus()
    opened.keyboard.press("ArrowRight")
    assert tip.inner_text() == cells.nth(1).get_attribute("data-tip")


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1400])
def test_a_figure_opens_enlarged_and_closes(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 800})
    opened.locator(".enlarge").first.click()
    shown, natural = opened.locator("dialog img").evaluate("(image) => [image.clientWidth, image.naturalWidth]")
    assert shown == natural
    opened.keyboard.press("Escape")
    assert not opened.locator("dialog").is_visible()


@pytest.mark.browser
def test_the_navigation_stays_in_sight_and_opens_what_it_leads_to(opened: Any) -> None:
    opened.evaluate("document.querySelectorAll('.part').forEach((part) => (part.open = false))")
    opened.locator(".bar nav a", has_text="Overfitting").click()
    assert opened.locator("#overfitting .part").get_attribute("open") is not None
    assert opened.locator(".bar").bounding_box()["y"] == 0


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(opened: Any, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened.emulate_media(color_scheme=scheme)
    opened.wait_for_timeout(300)
    found = Axe().run(opened, context={"exclude": [["[data-chart]"]]})
    assert found.response["violations"] == [], found.generate_report()
