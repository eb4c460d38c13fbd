"""Read the paper of a method from its module's docstring, and link its section of docs/methods.md."""

import ast
import posixpath
import re
from dataclasses import dataclass

from cure import catalogue

PAGE = "docs/methods.md"
SOFTWARE = 'The cure authors, "cure: adversarial training in one pipeline, and the evaluation of any network"'
"""The citation of CITATION.cff; an installed package lacks that file."""


@dataclass(frozen=True)
class Paper:
    """The citation of a method's paper."""

    citation: str
    url: str  # empty where the docstring names none


def paper(method: str) -> Paper:
    """Return the paper of an entry of cure/methods; parse the module without importing it."""
    said = _docstring(method).partition("\n\n")[2].partition("\n\n")[0]
    citation, url = re.match(r"(.*?)\s*(https?://[^\s;,]+|$)", " ".join(said.split())).groups()  # type: ignore[union-attr]
    return Paper(citation.strip(), url.rstrip(".")) if url else Paper("", "")


def section(method: str, root: str) -> str:
    """Return the URL of a method's section of docs/methods.md from reports/; `root` is that of params.yaml."""
    title = _docstring(method).partition("\n")[0]
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")  # the anchor that GitHub generates
    return f"{posixpath.normpath(posixpath.join('..', root, PAGE))}#{anchor}"


def _docstring(method: str) -> str:
    path = catalogue.ROOT / "methods" / f"{method}.py"
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
