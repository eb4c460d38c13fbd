"""The version stands in pyproject.toml alone."""

from importlib import metadata

import pytest
from ruamel.yaml import YAML

import cure
from cure.runtime.version import version
from tests.support.command_line import call
from tests.support.project import ROOT, VERSION


def test_the_package_and_the_command_say_it():
    assert cure.__version__ == version() == VERSION
    assert call("--version") == (0, f"cure {VERSION}\n", "")


def test_a_checkout_that_is_not_installed_says_it(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert cure.__version__ == VERSION


def test_an_installed_package_says_its_own(monkeypatch):
    monkeypatch.setattr(metadata, "version", {"cure": "9.9"}.__getitem__)
    assert cure.__version__ == "9.9"


def test_the_citation_and_the_changelog_name_it():
    cited = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (VERSION, "MIT")
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].split()[1] == VERSION


@pytest.mark.parametrize("key", ["cff-version", "message", "title", "authors"])
def test_the_citation_has_what_its_format_requires(key):
    assert YAML(typ="safe").load((ROOT / "CITATION.cff").read_text())[key]
