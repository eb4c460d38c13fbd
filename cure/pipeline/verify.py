"""Verify a run: repeat its stages in a clean copy and compare the outputs with dvc.lock byte for byte."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cure.errors import UserError, did_you_mean
from cure.pipeline import code_texts
from cure.runtime.console import WholeTable, page, say
from cure.settings.params import FILE, read
from cure.storage.files import md5sum

SOURCES = ("cure", "stages")
SHOWN = 12  # digits of a digest
EQUAL, DIFFERS = 0, 3


@dataclass(frozen=True)
class Line:
    """One output of a stage, its md5 in dvc.lock and its md5 when repeated; - if it is missing."""

    out: str
    lock: str
    again: str

    @property
    def equal(self) -> bool:
        """Return whether the bytes are the same."""
        return self.lock == self.again != "-"


def show(run: str, folder: Path) -> int:
    """Verify a run, print a line for each output and a sentence about all of them, and return the exit code."""
    found = verify(run, folder)
    table = WholeTable("out", "equal", "dvc.lock", "again")
    for line in found:
        table.add_row(line.out, "yes" if line.equal else "NO", line.lock[:SHOWN], line.again[:SHOWN])
    console = page()
    console.print(table, "")
    say(console, conclusion(run, found))
    return EQUAL if all(line.equal for line in found) else DIFFERS


def conclusion(run: str, found: list[Line]) -> str:
    """Return a sentence: whether all outputs are equal, else which ones are not."""
    unequal = [line.out for line in found if not line.equal]
    if unequal:
        return f"{run}: {len(unequal)} of {len(found)} outputs differ from dvc.lock: {', '.join(unequal)}"
    return f"{run}: every output ({len(found)}) has the bytes that dvc.lock records"


def verify(run: str, folder: Path) -> list[Line]:
    """Repeat the stages of a run, each in a copy of its own that holds its inputs and nothing else.

    `run` is a stage of `folder`/dvc.yaml, such as update@digits-small-at-0, or a run with all its stages, such as
    digits/small/at-s0. Inputs that differ from dvc.lock are printed to stderr; equal bytes then show that the
    change is neutral.
    """
    known = {stage.name: stage for stage in code_texts.load_stages(folder)}
    return [line for stage in named(run, known) for line in _repeated(stage, folder.resolve(), known)]


def named(run: str, known: dict[str, Any]) -> list[Any]:
    """Return the stages that are called `run`, or whose outputs are those of this run."""
    own = re.compile(rf"[^/]+/{re.escape(run)}(?![\w])")
    found = [one for name, one in known.items() if name == run or any(own.match(out.def_path) for out in one.outs)]
    if not found:
        raise UserError(f"verify: no stage and no run {run!r}{did_you_mean(run, list(known))}")
    if in_git := [one.name for one in found if not all(out.use_cache for out in one.outs) or not one.outs]:
        raise UserError(f"verify: {in_git[0]} is not a run; `git diff` shows whether its files changed")
    if unknown := [one.name for one in found if not all(out.hash_info.value for out in one.outs)]:
        raise UserError(f"verify: dvc.lock has no outputs of {', '.join(unknown)}; run `dvc repro` first")
    return found


def _repeated(stage: Any, folder: Path, known: dict[str, Any]) -> Iterator[Line]:
    root = (folder / str(read(folder / FILE).get("root", "."))).resolve()
    with TemporaryDirectory(prefix="cure-verify-") as place:
        copy = Path(place) / "project"
        where = copy / folder.relative_to(root)
        _copy(stage, folder, root, copy)
        code_texts.rewrite(known.values(), where)
        if changed := [dep.def_path for dep in stage.deps if _changed(dep, where)]:
            print(f"{stage.name}: no longer as in dvc.lock: {', '.join(changed)}", file=sys.stderr)
        own = {"CURE_SCRATCH": str(Path(place) / "scratch"), "PATH": code_texts.search_path()}
        print(f"{stage.name}: {stage.cmd}", file=sys.stderr, flush=True)
        ended = subprocess.run(stage.cmd, shell=True, cwd=where, env=os.environ | own, stdout=sys.stderr, check=False)
        if ended.returncode:
            print(f"{stage.name}: ended with exit code {ended.returncode}", file=sys.stderr)
        for out in stage.outs:
            yield Line(out.def_path, out.hash_info.value, _digest(where / out.def_path))


def _changed(dep: Any, where: Path) -> bool:
    """Return whether an input differs from dvc.lock; texts of code/ are read in the copy."""
    return bool(dep.hash_info.value != _digest(where / dep.def_path) if _is_code(dep) else dep.status())


def _is_code(dep: Any) -> bool:
    return Path(dep.def_path).parts[0] == "code"


def _digest(made: Path) -> str:
    """Return the digest that DVC gives a file or a folder: for a folder, the md5 of the list of its files."""
    if not made.is_dir():
        return md5sum(made) if made.exists() else "-"
    files = sorted((str(path.relative_to(made)), path) for path in made.rglob("*") if path.is_file())
    listed = json.dumps([{"md5": md5sum(path), "relpath": name} for name, path in files])
    return f"{hashlib.md5(listed.encode()).hexdigest()}.dir"


def _copy(stage: Any, folder: Path, root: Path, copy: Path) -> None:
    """Copy the project's sources, params.yaml and the files that the stage depends on to the same places."""
    for name in SOURCES:
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for source in (folder / FILE, *(Path(dep.fs_path) for dep in stage.deps if not _is_code(dep))):
        target = copy / source.relative_to(root)
        if not source.exists():
            raise UserError(f"{source.relative_to(folder)}: not found; make it with `dvc repro` or `dvc checkout`")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy(source, target)
        elif not target.exists():
            shutil.copytree(source, target)
