"""Digest: which code every stage and every catalogue entry runs.

Reads the sources of cure/ and stages/, and in params.yaml which attacks, corruptions, analyses and figures it names.
Writes the folder code/, in git: stages/STAGE.txt and CATALOGUE/ENTRY.txt, a line "digest path" for each module that the
stage or entry imports, directly or through others. Every other stage depends on its texts, so `git diff code/` names
the modules that make a run stale.

A digest leaves out comments, docstrings and blank lines: prose trains nothing again.
"""

import ast
import hashlib
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the code of this copy of the project, not the installed one

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cure.errors import UserError
from cure.runtime.terminal import stage
from cure.storage.files import write_text

FOLDER = Path("code")
CATALOGUES = ("datasets", "models", "methods")  # a run depends on the texts of its own entries
NAMED = ("attacks", "corruptions", "analyses", "figures")  # a stage depends on those that params.yaml names
TEMPLATES = (".html",)  # files beside a module that it opens by their name
LAYOUT = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
STRING = re.compile(r"[rRbBuU]*['\"]")  # no f-string, which computes


def digest(source: str) -> str:
    """Return 16 hex digits of a source without comments, docstrings, blank lines and spaces at the ends of lines."""
    lines = source.split("\n")
    for (top, left), (bottom, right) in reversed(list(_prose(source))):
        head, tail = lines[top - 1][:left], lines[bottom - 1][right:]
        lines[top - 1 : bottom] = [head + tail]
    kept = [line.rstrip() for line in lines if line.strip()]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def _prose(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield where each comment and each statement that is nothing but a string begins and ends."""
    before, string = tokenize.NEWLINE, list[tokenize.TokenInfo]()  # string: what such a statement has so far
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start, token.end
        elif token.type == tokenize.NEWLINE and string:
            yield string[0].start, string[-1].end
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            alone = STRING.match(token.string) and (before in LAYOUT or string)
            string = [*string, token] if alone else []
            before = token.type


@cache
def module(path: Path) -> tuple[str, frozenset[Path]]:
    """Return the digest of a file and the project's files that it needs: those it imports, and templates beside it."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return hashlib.sha256(source.encode()).hexdigest()[:16], frozenset()
    found = set[Path]()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and str(node.value).endswith(TEMPLATES):
            found |= {beside for beside in [path.parent / str(node.value)] if beside.exists()}
        files = (ROOT / f"{name.replace('.', '/')}.py" for name in names if name.split(".")[0] == "cure")
        found |= {file for file in files if file.exists()}
    return digest(source), frozenset(found)


def closure(start: Path) -> set[Path]:
    """Return `start` and every file of the project that it needs, directly or through others."""
    todo, seen = [start], {start}
    while todo:
        new = module(todo.pop())[1] - seen
        seen |= new
        todo.extend(new)
    return seen


def text(start: Path) -> str:
    """Return a line "digest path" for each file of the closure, in the order of the paths."""
    files = {path.relative_to(ROOT).as_posix(): module(path)[0] for path in closure(start)}
    return "".join(f"{value} {name}\n" for name, value in sorted(files.items()))


def named(params: Any) -> dict[str, list[Any]]:
    """Return catalogue -> the entries that params.yaml names; what is wrong with the file, each stage says itself."""

    def at(*keys: str) -> Any:
        value = params
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, dict | list) else []

    columns = at("attack", "columns")
    attacks = [at("attack", "columns", name) for name in columns if isinstance(name, str)]
    return {
        "attacks": [column.get("attack") for column in attacks if isinstance(column, dict)],
        "corruptions": list(at("corrupt", "corruptions")),
        "analyses": list(at("analyse", "entries")),
        "figures": list(at("report", "figures")),
    }


def starts(params: Any) -> dict[Path, Path]:
    """Return the text of code/ -> the file at which its closure starts."""
    scripts = [path for path in (ROOT / "stages").glob("*.py") if path != Path(__file__).resolve()]
    wanted = named(params)

    def entries(folder: str) -> Iterable[Path]:
        files = (path for path in (ROOT / "cure" / folder).glob("*.py") if not path.stem.startswith("_"))
        return [path for path in files if folder in CATALOGUES or path.stem in wanted[folder]]

    found = [*scripts, *(path for folder in (*CATALOGUES, *NAMED) for path in entries(folder))]
    return {Path(path.parent.name, f"{path.stem}.txt"): path for path in found}


def main() -> None:
    """Write code/ anew; a text that did not change is left alone."""
    try:
        params = YAML(typ="safe").load(Path("params.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as problem:
        raise UserError(f"params.yaml: cannot be read: {problem}; run this in a pipeline folder") from None
    try:
        texts = {FOLDER / name: text(start) for name, start in starts(params).items()}
    except (OSError, SyntaxError, tokenize.TokenError) as problem:
        raise UserError(f"code: a source cannot be read: {problem}") from None
    for path in FOLDER.rglob("*.txt"):
        if path not in texts:
            path.unlink()
    for path, content in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write_text(path, content)
    for folder in (*CATALOGUES, *NAMED):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)  # a dependency, also if nothing is named


if __name__ == "__main__":
    stage(main)
