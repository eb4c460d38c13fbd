"""Download published files once for all processes of a machine: resumed, verified, and only then moved in place."""

import http.client
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from cure.data.archive import File
from cure.errors import UserError
from cure.runtime.progress import progress
from cure.storage.files import md5sum

BLOCK = 2**20
ASKING = 10.0  # seconds until a server must answer a check that it is reachable
PATIENCE = 60.0  # seconds until a server must answer, and over which its speed is measured
SLOWEST = 1024  # bytes per second; at this speed CIFAR-10-C would take a month
INTERVAL = 30.0  # seconds between two lines about a download without a terminal
LONGEST = 16  # most digits of a Content-Length


def offline() -> bool:
    """Return whether CURE_OFFLINE forbids the network."""
    return os.environ.get("CURE_OFFLINE", "0") not in ("", "0")


def lacking(files: tuple[File, ...], folder: Path) -> str | None:
    """Return why `files` cannot be in `folder`, and what to do, or None if they can.

    An existing file must have its checksum; the server of a missing one must be reachable.
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
    """Return the path of the complete file in `folder`, and resume an interrupted download. The caller holds a lock."""
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
            f"the command again, which resumes the download; or put the file there yourself as {path} (md5 "
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
        _answer(urllib.request.Request(file.url), ASKING).close()
    except (OSError, http.client.HTTPException) as problem:
        return str(getattr(problem, "reason", problem))
    return None


def _answer(request: urllib.request.Request, seconds: float) -> Any:
    """Return the server's answer with its headers within this many seconds, however slowly they arrive."""
    found: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            found.put(urllib.request.urlopen(request, timeout=seconds))
        except (OSError, http.client.HTTPException) as problem:
            found.put(problem)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = found.get(timeout=seconds)
    except Empty:
        raise OSError(f"no answer within {seconds:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _stream(file: File, part: Path, have: int) -> None:
    """Append the missing bytes to `part`, or start it again if the server does not resume."""
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = _answer(request, PATIENCE)
    except urllib.error.HTTPError as problem:
        if problem.code == 416:  # no bytes beyond those in the file
            return
        raise
    with answer:
        have = have if answer.status == 206 else 0
        pace = Pace(file.name, have, have + _length(answer))
        ticks = have // BLOCK
        with part.open("ab" if have else "wb") as out, progress(file.name, pace.total // BLOCK, ticks) as on_progress:
            while block := answer.read1(BLOCK):  # read1 returns early, so that a slow server is noticed
                out.write(block)
                pace.take(len(block))
                while ticks < pace.done // BLOCK:
                    on_progress("MiB")
                    ticks += 1
        if part.stat().st_size < pace.total:
            raise OSError(f"broken off after {part.stat().st_size:,} of {pace.total:,} bytes")


def _length(answer: Any) -> int:
    """Return the number of bytes that the server announces, or 0 if it does not."""
    said = answer.headers.get("Content-Length") or "0"
    if not (said.isascii() and said.isdecimal() and len(said) < LONGEST):
        raise OSError(f"the server's Content-Length is {said[:LONGEST]!r}, which is not a number of bytes")
    return int(said)


class Pace:
    """The speed of a download: raises below SLOWEST, and prints progress where there is no terminal with a bar."""

    def __init__(self, name: str, done: int, total: int) -> None:
        self.name, self.done, self.total = name, done, total
        self.begun = self.told = time.monotonic()
        self.came = 0  # bytes since `begun`

    def take(self, count: int) -> None:
        """Count received bytes; raise OSError if fewer than SLOWEST a second arrived during PATIENCE seconds."""
        self.done += count
        self.came += count
        now = time.monotonic()
        if now - self.begun >= PATIENCE:
            if self.came < SLOWEST * (now - self.begun):
                raise OSError(f"only {self.came:,} bytes came in {now - self.begun:.0f} s")
            self.begun, self.came = now, 0
        if now - self.told >= INTERVAL and not sys.stderr.isatty():
            print(f"{self.name}: {self._so_far()}", file=sys.stderr, flush=True)
            self.told = now

    def _so_far(self) -> str:
        """Return "312 of 2,780 MiB", or "312 MiB" if the server did not announce the length."""
        of = f" of {self.total // BLOCK:,}" if self.total else ""
        return f"{self.done // BLOCK:,}{of} MiB"
