"""Published files, fetched once for all processes of a machine: resumed, verified, and only then put in place."""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from cure.data.archive import File
from cure.errors import UserError
from cure.runtime.progress import progress
from cure.storage.files import md5sum

BLOCK = 2**20


def offline() -> bool:
    """Whether CURE_OFFLINE forbids the network."""
    return os.environ.get("CURE_OFFLINE", "0") not in ("", "0")


def lacking(files: tuple[File, ...], folder: Path) -> str | None:
    """What keeps `files` from being in `folder`, and what to do; None if nothing does.

    A file that is there must have its checksum; one that is not must be reachable.
    """
    for file in files:
        if (folder / file.name).exists():
            if said := _altered(file, folder / file.name):
                return said
        elif reason := _unreachable(file):
            return (
                f"{file.name} is not in {folder} and cannot be downloaded ({reason}). Connect to a network, or put the "
                f"file there yourself (md5 {file.md5}); quickstart/ needs no download"
            )
    return None


def fetch(file: File, folder: Path) -> Path:
    """The whole file in `folder`; one that broke off is continued. Two processes hold a lock around this."""
    path, part = folder / file.name, folder / f"{file.name}.part"
    if path.exists():
        if said := _altered(file, path):
            raise UserError(said)
        return path
    try:
        if offline():
            raise OSError("CURE_OFFLINE is set")
        _stream(file, part, part.stat().st_size if part.exists() else 0)
    except (OSError, EOFError, http.client.HTTPException) as problem:
        raise UserError(
            f"{file.url}: cannot be downloaded ({getattr(problem, 'reason', problem)}). Connect to a network and run "
            f"the command again, which goes on where it stopped; or put the file there yourself as {path} (md5 "
            f"{file.md5})"
        ) from problem
    if md5sum(part) != file.md5:
        part.unlink()
        raise UserError(
            f"{path}: not the published file (its md5 is not {file.md5}), so deleted; run the command again"
        )
    part.replace(path)
    return path


def _altered(file: File, path: Path) -> str | None:
    if md5sum(path) == file.md5:
        return None
    return f"{path}: truncated or altered (its md5 is not {file.md5}); delete it and run again"


def _unreachable(file: File) -> str | None:
    if offline():
        return "CURE_OFFLINE is set"
    try:
        urllib.request.urlopen(file.url, timeout=10).close()
    except (OSError, http.client.HTTPException) as problem:
        return str(getattr(problem, "reason", problem))
    return None


def _stream(file: File, part: Path, have: int) -> None:
    """Append what is missing to `part`; a server that does not continue starts it anew."""
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as problem:
        if problem.code == 416:  # nothing beyond what is there
            return
        raise
    with answer:
        have = have if answer.status == 206 else 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        with (
            part.open("ab" if have else "wb") as out,
            progress(file.name, total // BLOCK, have // BLOCK) as on_progress,
        ):
            while block := answer.read(BLOCK):
                out.write(block)
                on_progress("MiB")
        if part.stat().st_size < total:
            raise OSError(f"broken off after {part.stat().st_size:,} of {total:,} bytes")
