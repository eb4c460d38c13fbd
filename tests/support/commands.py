"""The commands in README and docs: found in blocks and in code spans, as words of a shell."""

import re
import shlex
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from tests.support.project import ROOT

PAGES = [
    path for pattern in ("docs/*.md", "docs/[!_]*/*.md") for path in ROOT.glob(pattern)
]  # not those of a built site
TEXTS = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in PAGES)]
BLOCK = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
PROGRAMS = ("cure", "dask", "dvc", "git", "make", "pytest", "python", "python3", "uv", ".uv/bin/uv", "source", "cd")


@dataclass(frozen=True)
class Command:
    """One command; `whole` ones are to be typed as they are, others may be named without their arguments."""

    words: tuple[str, ...]
    folder: Path
    whole: bool

    def __str__(self) -> str:
        return shlex.join(self.words)


def commands(text: str) -> list[Command]:
    """Every command in the sh blocks and code spans of a page."""
    found = [one for kind, block in BLOCK.findall(text) if kind in ("sh", "console") for one in lines(block, True)]
    for span in SPAN.findall(BLOCK.sub("", text)):
        span = " ".join(span.split())
        if span.split()[0] in PROGRAMS or re.match(r"[A-Z_]+=\S+ ", span):
            found += lines(span, False)
        elif span.startswith("-S "):
            found += lines(f"dvc exp run {span}", False)
    return found


def lines(script: str, whole: bool) -> list[Command]:
    """The commands of a script, each with the folder that `cd` has led to."""
    folder, found = ROOT, []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split, words = True, []
        for word in [*lexer, ";"]:
            if set(word) <= set("&|;"):
                found += [Command(tuple(words), folder, whole)] if words else []
                folder = folder / words[1] if words[:1] == ["cd"] else folder
                words = []
            elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
                words += expanded(word)
    return found


def expanded(word: str) -> list[str]:
    """a-{b,c} as a-b and a-c."""
    parts = re.split(r"\{([^{}\s\"']+,[^{}\s\"']*)\}", word)
    choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(one) for one in product(*choices)]
