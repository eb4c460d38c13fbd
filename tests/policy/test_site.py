"""The site of docs/ builds without a warning and asks no network; its links, and those beside it, lead somewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.commands import TEXTS
from tests.support.project import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; a warning is an error, such as a link to a page or heading that is not there."""
    folder = tmp_path_factory.mktemp("site")
    line = [
        sys.executable,
        "-m",
        "sphinx",
        "-qW",
        "--keep-going",
        "-d",
        folder / "made",
        ROOT / "docs",
        folder / "html",
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a page loads, what it links to, and which places it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded, self.links, self.places = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places.add(given.get("id", ""))
        self.loaded += [given["src"]] if "src" in given else []
        (self.links if tag == "a" else self.loaded).extend([given["href"]] if "href" in given else [])


def test_no_page_loads_anything_from_a_network(site: Path) -> None:
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 15
    assert [url for page in pages.values() for url in page.loaded if re.match(r"(https?:)?//", url)] == []
    assert [
        path.name
        for path in site.rglob("*.css")
        if re.search(r"(@import|url\()\s*['\"]?(https?:)?//", path.read_text())
    ] == []


def test_every_link_within_the_site_leads_to_a_place(site: Path) -> None:
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            target, _, place = link.partition("#")
            to = (path.parent / target).resolve() if target else path
            if re.match(r"\w+:", link) or (to.exists() and (not place or place in pages[to].places)):
                continue
            dead.append(f"{path.name}: {link}")
    assert dead == []


def test_the_reference_has_what_people_call(site: Path) -> None:
    places = Page((site / "api.html").read_text()).places
    names = {"cure.evaluate", "cure.training_step", "cure.core.method.Method", "cure.core.attack.AttackSequence"}
    assert (
        names | {"cure.settings.sections.RunSettings", "cure.core.dataset.Raw", "cure.core.network.Network"} <= places
    )


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = [re.sub(r"[^\w\- ]", "", head.lower()) for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {head.replace(" ", "-") for head in heads}


@pytest.mark.parametrize("text", [*TEXTS, "CHANGELOG.md"])
def test_links_of_a_text_lead_to_files_and_headings_on_github(text: str) -> None:
    path, dead = ROOT / text, []
    for link in LINK.findall(path.read_text()):
        target, _, place = link.partition("#")
        to = path.parent / target if target else path
        if not re.match(r"https?://", link) and (not to.exists() or (place and place not in anchors(to))):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda path: path.stem)
def test_a_page_of_decisions_begins_with_all_its_questions(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^- \[(.+)\]\(#", text, re.MULTILINE) == re.findall(r"^## (.+)$", text, re.MULTILINE)
