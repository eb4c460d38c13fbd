"""CIFAR-10-C and CIFAR-100-C, fetched when somebody asks: resumed where it broke off, verified, then put in place."""

import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from cure.engine import scratch
from cure.engine.official import ARCHIVES, Archive, md5sum
from cure.errors import Refused, did_you_mean
from cure.terminal import progress

BLOCK = 2**20


def archive(name: str) -> Archive:
    """cifar10-c -> the archive CIFAR-10-C; refuses other names."""
    known = {one.command: one for one in ARCHIVES.values()}
    if name not in known:
        raise Refused(f"download: nothing called {name!r}{did_you_mean(name, list(known))}")
    return known[name]


def download(wanted: Archive) -> bool:
    """Fetch and unpack `wanted` where all its arrays are not there yet; whether there was anything to do."""
    folder = wanted.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch.locked(folder.parent / f"{wanted.name}.lock", f"download {wanted.name}", "download"):
        if not wanted.absent(wanted.md5s):
            for name in wanted.md5s:
                wanted.array(name)  # refuses a damaged file
            return False
        tar = folder.parent / f"{wanted.name}.tar"
        try:
            _fetch(wanted, tar)
            _unpack(wanted, tar)
        except (OSError, EOFError, tarfile.TarError) as problem:
            reason = getattr(problem, "reason", problem)
            raise Refused(
                f"{wanted.url}: cannot be downloaded ({reason}). Connect to a network and run the command again, which "
                f"goes on where it stopped; or put the file there yourself as {tar} (md5 {wanted.md5})"
            ) from problem
    return True


def _fetch(wanted: Archive, tar: Path) -> None:
    """The whole archive at `tar`, with its md5; a partial file beside it is continued."""
    if not tar.exists():
        part = tar.with_suffix(".tar.part")
        have = part.stat().st_size if part.exists() else 0
        _stream(wanted, part, have)
        part.replace(tar)
    if md5sum(tar) != wanted.md5:
        tar.unlink()
        raise Refused(f"{tar}: not the published file (its md5 is not {wanted.md5}), so deleted; run the command again")


def _stream(wanted: Archive, part: Path, have: int) -> None:
    """Append what is missing to `part`; a server that does not continue starts it anew."""
    request = urllib.request.Request(wanted.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as problem:
        if problem.code == 416:  # nothing beyond what is there
            return
        raise
    with answer:
        have = have if answer.status == 206 else 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        with part.open("ab" if have else "wb") as file, progress(wanted.name, total // BLOCK, have // BLOCK) as tick:
            while block := answer.read(BLOCK):
                file.write(block)
                tick("MiB")
        if part.stat().st_size < total:
            raise OSError(f"broken off after {part.stat().st_size:,} of {total:,} bytes")


def _unpack(wanted: Archive, tar: Path) -> None:
    """The arrays, each verified, in the archive's folder, which appears as a whole."""
    draft = wanted.folder.with_name(f".{wanted.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    with tarfile.open(tar) as packed:
        for member in packed:
            name = Path(member.name)
            if member.isfile() and name.suffix == ".npy" and name.stem in wanted.md5s:
                member.name = name.name
                packed.extract(member, draft, filter="data")
    wrong = [name for name, md5 in wanted.md5s.items() if not _is(draft / f"{name}.npy", md5)]
    if wrong:
        shutil.rmtree(draft)
        raise Refused(f"{tar}: without its published {', '.join(wrong)}; delete it and run the command again")
    shutil.rmtree(wanted.folder, ignore_errors=True)
    draft.replace(wanted.folder)
    tar.unlink()


def _is(path: Path, md5: str) -> bool:
    return path.exists() and md5sum(path) == md5
