"""A newcomer's method, attack, analysis and figure, as docs/add.md shows them, and their lines of params.yaml."""

import re

from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "add.md").read_text()
ENTRIES = dict(re.findall(r"`(cure/\w+/\w+\.py)`:\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
FILES = {
    name: ENTRIES[name]
    for name in ("cure/methods/toy.py", "cure/attacks/spsa.py", "cure/analyses/entropy.py", "cure/figures/entropy.py")
}
LINES = {  # place in params.yaml, as docs/add.md names it -> the line there and the one that follows it now
    "methods.NAME": ("methods:\n", "  toy: {attack: {steps: 2, start: uniform, clip_start: true}}\n"),
    "grid.update": ("  update:\n", "  - toy\n"),
    "attack.columns": ("  columns:\n", "    spsa4: {attack: spsa, steps: 4, delta: 0.01}\n"),
    "attack.table": ("  table:\n", "  - spsa4\n"),
    "analyse.entries": ("  entries:\n", "    entropy: {images: 8}\n"),
    "report.figures": ("  figures:\n", "  - entropy\n"),
}


def added(params: str) -> str:
    """The text of params.yaml with these lines."""
    for before, line in LINES.values():
        place = re.compile(rf"^{re.escape(before.rstrip())}(?: +#.*)?\n(?: *#.*\n)*", re.MULTILINE)
        assert place.search(params)
        params = place.sub(lambda found, line=line: found[0] + line, params, count=1)
    return params
