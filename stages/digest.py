"""Digest: record the code that every stage and every catalogue entry runs.

Reads the sources of cure/ and stages/, and in params.yaml the named attacks, corruptions, analyses and figures. Writes
the folder code/, in git: stages/STAGE.txt and CATALOGUE/ENTRY.txt. Each file has a line "digest path" for each module
that the stage or entry imports, directly or not. For a data set with images in a folder, it has a line for these too.
Every other stage depends on its files in code/, so `git diff code/` shows why a run is stale.

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
CATALOGUES = ("datasets", "models", "methods")  # a run depends on the files of its own entries
NAMED = ("attacks", "corruptions", "analyses", "figures")  # a stage depends on those that params.yaml names
TEMPLATES = (".html", ".css", ".js")  # files that a module opens by name, in its folder
LAYOUT = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
STRING = re.compile(r"[rRbBuU]*['\"]")  # not an f-string, which runs code


def digest(source: str) -> str:
    """Hash a source without comments, docstrings, blank lines and trailing spaces; return 16 hex digits."""
    lines = source.split("\n")
    for (top, left), (bottom, right) in reversed(list(_prose(source))):
        head, tail = lines[top - 1][:left], lines[bottom - 1][right:]
        lines[top - 1 : bottom] = [head + tail]
    kept = [line.rstrip() for line in lines if line.strip()]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def _prose(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the start and end of each comment and of each statement that is only a string."""
    before, string = tokenize.NEWLINE, list[tokenize.TokenInfo]()  # string: the tokens of a string statement so far
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
    """Return the digest of a file, and the paths that it may need: imported modules, and templates in its folder."""
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
"""File -> its size and modification time, and the result of `read`. Like DVC, reread a file only if these differ."""


@cache
def module(path: Path) -> tuple[str, frozenset[Path]]:
    """Return the digest of a file, and the existing files of the project that it needs directly."""
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
    """Return the value at these keys if it is a mapping or a list, else []. The other stages report mistakes."""
    value = params
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict | list) else []


def data(params: Any) -> dict[Path, str]:
    """Map a file of code/ to a line with the digest of the images of each data set that has a path in params.yaml.

    Downloads are left out since they have a checksum. Images in a user's folder may change.
    """
    found = {}
    for name in at(params, "grid", "datasets"):
        section = at(params, "datasets", str(name))
        if isinstance(section, dict) and isinstance(path := section.get("path"), str):
            files = contents(expanded(path), _bytes)[:16] or "absent"
            found[Path("datasets", f"{name}.txt")] = f"{files} datasets.{name}.path\n"
    return found


def _bytes(path: Path) -> str:
    """Return the digest of a file's bytes; read it again only if its size or modification time differs."""
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
    """Map each file of code/ to the source file at which its closure starts."""
    found = [path for path in (ROOT / "stages").glob("*.py") if path != Path(__file__).resolve()]
    wanted = {folder: catalogue.names(folder) for folder in CATALOGUES} | named(params)
    for folder, names in wanted.items():
        found += [ROOT / "cure" / folder / f"{name}.py" for name in catalogue.names(folder) if name in names]
    return {Path(path.parent.name, f"{path.stem}.txt"): path for path in found}


def write(params: Any) -> None:
    """Write code/; leave unchanged files untouched, and delete those of removed entries."""
    files = data(params)
    texts = {FOLDER / name: text(start) + files.get(name, "") for name, start in starts(params).items()}
    for path in FOLDER.rglob("*.txt"):
        if path not in texts:
            path.unlink()
    for path, content in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write_text(path, content)
    for folder in (*CATALOGUES, *NAMED):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)  # DVC requires the folder, even if no entry is named


def main() -> None:
    """Write the folder code/ for params.yaml of the current folder."""
    try:
        params = YAML(typ="safe").load(Path("params.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as problem:
        raise UserError(f"params.yaml: cannot be read: {problem}; run this in a pipeline folder") from None
    with contextlib.suppress(OSError, ValueError):  # only a cache: without it, every file is read
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
