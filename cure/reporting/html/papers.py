"""Where a method comes from: its paper, read from the docstring of its module, and its part of docs/methods.md."""

import ast
import posixpath
import re
from dataclasses import dataclass

from cure import catalogue

PAGE = "docs/methods.md"
SOFTWARE = 'The cure authors, "cure: adversarial training in one pipeline, and the evaluation of any network"'
"""As CITATION.cff has it, which an installed package lacks."""


@dataclass(frozen=True)
class Paper:
    """What a method cites."""

    citation: str
    url: str  # empty where the docstring names none


def paper(method: str) -> Paper:
    """Return the paper of an entry of cure/methods; the module is read, not imported."""
    said = _docstring(method).partition("\n\n")[2].partition("\n\n")[0]
    citation, url = re.match(r"(.*?)\s*(https?://[^\s;,]+|$)", " ".join(said.split())).groups()  # type: ignore[union-attr]
    return Paper(citation.strip(), url.rstrip(".")) if url else Paper("", "")


def section(method: str, root: str) -> str:
    """Return the address of a method's part of docs/methods.md, seen from reports/; `root` is that of params.yaml."""
    title = _docstring(method).partition("\n")[0]
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")  # as GitHub makes it
    return f"{posixpath.normpath(posixpath.join('..', root, PAGE))}#{anchor}"


def _docstring(method: str) -> str:
    path = catalogue.ROOT / "methods" / f"{method}.py"
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
