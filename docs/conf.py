"""Settings of the documentation site; `make docs` builds it into docs/_build/html."""

import inspect
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

project = "cure"
copyright = "the authors of cure (MIT)"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
suppress_warnings = ["misc.highlighting_failure"]  # formulas and mixed output need no lexer

html_theme = "furo"
html_title = "cure"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
html_static_path: list[str] = []

myst_heading_anchors = 4  # the anchors that GitHub makes
myst_enable_extensions = ["colon_fence"]

default_role = "code"  # docstrings write `name`, as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_default_options = {"members": True, "exclude-members": "model_config, model_post_init"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def list_fields(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """List the fields of a settings class or dataclass with the type and the comment on their lines."""
    if what != "class" or not name.startswith("cure.") or getattr(thing, "__module__", "") not in name:
        return
    fields = getattr(thing, "model_fields", None) or getattr(thing, "__dataclass_fields__", {})
    own = [re.match(r"    (\w+): (.+?)(?:  # (.+))?$", line) for line in inspect.getsource(thing).splitlines()]
    listed = [found for found in own if found and found[1] in fields]
    for found in listed:
        lines.extend(["", f"- ``{found[1]}`` (``{found[2]}``)" + (f": {found[3]}" if found[3] else "")])


def link_files_outside(app: Sphinx, name: str, source: list[str]) -> None:
    """Make links to files outside docs/ download links, so that one text works on the site and on GitHub."""
    here = (Path(app.srcdir) / name).parent

    def link(found: re.Match[str]) -> str:
        inside = (here / found[2]).resolve().is_relative_to(app.srcdir)
        return found[0] if inside else f"{{download}}`{found[1]} <{found[2]}>`"

    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#]+)\)", link, source[0])


def setup(app: Sphinx) -> None:
    """Connect the hooks."""
    app.connect("autodoc-process-docstring", list_fields)
    app.connect("source-read", link_files_outside)
