"""Digest: record the code that every stage and every catalogue entry runs.

Reads the sources of cure/ and stages/, and in params.yaml the named attacks, corruptions, analyses and figures. Writes
the folder code/, in git: stages/STAGE.txt and CATALOGUE/ENTRY.txt. Each has a line "digest path" for each module that
the stage or entry imports, directly or not, and one for the images of a data set in a folder of the user's. Every other
stage depends on its texts, so `git diff code/` shows why a run is stale.

A digest leaves out comments, docstrings and blank lines: a change of prose retrains nothing.
"""

import ast
import contextlib
import hashlib
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the code of this copy of the project, not the installed one

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cure import catalogue
from cure.errors import UserError
from cure.runtime.terminal import stage
from cure.storage.files import contents, sha256, write_text
from cure.storage.paths import expanded

FOLDER = Path("code")
CACHE = Path(".dvc/tmp/code.json")
CATALOGUES = ("datasets", "models", "methods")  # a run depends on the texts of its own entries
NAMED = ("attacks", "corruptions", "analyses", "figures")  # a stage depends on those that params.yaml names
TEMPLATES = (".html", ".css", ".js")  # files beside a module that it opens by their name
LAYOUT = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
STRING = re.compile(r"[rRbBuU]*['\"]")  # not an f-string, which computes


def digest(source: str) -> str:
    """Return 16 hex digits of a source without comments, docstrings, blank lines and spaces at the ends of lines."""
    lines = source.split("\n")
    for (top, left), (bottom, right) in reversed(list(_prose(source))):
        head, tail = lines[top - 1][:left], lines[bottom - 1][right:]
        lines[top - 1 : bottom] = [head + tail]
    kept = [line.rstrip() for line in lines if line.strip()]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def _prose(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the start and end of each comment and of each statement that is only a string."""
    before, string = tokenize.NEWLINE, list[tokenize.TokenInfo]()  # string: the tokens of such a statement so far
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start, token.end
        elif token.type == tokenize.NEWLINE and string:
            yield string[0].start, string[-1].end
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            alone = STRING.match(token.string) and (before in LAYOUT or string)
            string = [*string, token] if alone else []
            before = token.type


def read(path: Path) -> tuple[str, list[str]]:
    """Return the digest of a file and the files that it may need: modules by name, templates beside it."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return hashlib.sha256(source.encode()).hexdigest()[:16], []
    names = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {f"{alias.name.replace('.', '/')}.py" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
            names |= {f"{name.replace('.', '/')}.py" for name in found}
        elif isinstance(node, ast.Constant) and str(node.value).endswith(TEMPLATES):
            names.add((path.parent / str(node.value)).relative_to(ROOT).as_posix())
    return digest(source), sorted(name for name in names if name.startswith("cure/"))


KNOWN: dict[str, tuple[int, int, str, list[str]]] = {}
"""File -> its size and time of change, and the result of `read` then; DVC trusts these two as well."""


@cache
def module(path: Path) -> tuple[str, frozenset[Path]]:
    """Return the digest of a file and the project's files that it needs."""
    name, stat = path.relative_to(ROOT).as_posix(), path.stat()
    if name not in KNOWN or tuple(KNOWN[name][:2]) != (stat.st_size, stat.st_mtime_ns):
        KNOWN[name] = (stat.st_size, stat.st_mtime_ns, *read(path))
    *_, value, names = KNOWN[name]
    return value, frozenset(file for file in map(ROOT.joinpath, names) if file.exists())


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


def at(params: Any, *keys: str) -> Any:
    """Return the value at these keys if it is a mapping or a list, else []; the other stages report mistakes."""
    value = params
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict | list) else []


def data(params: Any) -> dict[Path, str]:
    """Map a text of code/ to a line for the files of a data set that has a path in params.yaml.

    A download never changes; images may be added to a folder or removed.
    """
    found = {}
    for name in at(params, "grid", "datasets"):
        section = at(params, "datasets", str(name))
        if isinstance(section, dict) and isinstance(path := section.get("path"), str):
            files = contents(expanded(path), _bytes)[:16] or "absent"
            found[Path("datasets", f"{name}.txt")] = f"{files} datasets.{name}.path\n"
    return found


def _bytes(path: Path) -> str:
    """Return the digest of a file's bytes; read it again only if its size or time of change differs."""
    name, stat = str(path.absolute()), path.stat()
    if name not in KNOWN or tuple(KNOWN[name][:2]) != (stat.st_size, stat.st_mtime_ns):
        KNOWN[name] = (stat.st_size, stat.st_mtime_ns, sha256(path), [])
    return KNOWN[name][2]


def named(params: Any) -> dict[str, list[Any]]:
    """Return the entries that params.yaml names, by catalogue."""
    columns = at(params, "attack", "columns")
    attacks = [at(params, "attack", "columns", name) for name in columns if isinstance(name, str)]
    return {
        "attacks": [column.get("attack") for column in attacks if isinstance(column, dict)],
        "corruptions": list(at(params, "corrupt", "corruptions")),
        "analyses": list(at(params, "analyse", "entries")),
        "figures": list(at(params, "report", "figures")),
    }


def starts(params: Any) -> dict[Path, Path]:
    """Map each text of code/ to the file at which its closure starts."""
    found = [path for path in (ROOT / "stages").glob("*.py") if path != Path(__file__).resolve()]
    wanted = {folder: catalogue.names(folder) for folder in CATALOGUES} | named(params)
    for folder, names in wanted.items():
        found += [ROOT / "cure" / folder / f"{name}.py" for name in catalogue.names(folder) if name in names]
    return {Path(path.parent.name, f"{path.stem}.txt"): path for path in found}


def write(params: Any) -> None:
    """Write code/ anew; do not touch a text that did not change."""
    files = data(params)
    texts = {FOLDER / name: text(start) + files.get(name, "") for name, start in starts(params).items()}
    for path in FOLDER.rglob("*.txt"):
        if path not in texts:
            path.unlink()
    for path, content in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write_text(path, content)
    for folder in (*CATALOGUES, *NAMED):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)  # a dependency, even if no entry is named


def main() -> None:
    """Write the folder code/ for params.yaml of the current folder."""
    try:
        params = YAML(typ="safe").load(Path("params.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as problem:
        raise UserError(f"params.yaml: cannot be read: {problem}; run this in a pipeline folder") from None
    with contextlib.suppress(OSError, ValueError):  # a cache: without it, every file is read
        KNOWN.update(json.loads(CACHE.read_text(encoding="utf-8")))
    before = dict(KNOWN)
    try:
        write(params)
        if before != KNOWN and CACHE.parent.is_dir():
            write_text(CACHE, json.dumps(KNOWN))
    except (OSError, SyntaxError, tokenize.TokenError, UserError) as problem:
        raise UserError(f"code: {problem}") from None


if __name__ == "__main__":
    stage(main)
