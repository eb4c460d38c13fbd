"""Download CIFAR-10-C and CIFAR-100-C on request, and verify each array."""

import shutil
import tarfile
from pathlib import Path

from cure.data.archive import File
from cure.data.download import fetch
from cure.data.published_corruptions import ARCHIVES, Archive
from cure.errors import UserError, did_you_mean
from cure.storage import resume
from cure.storage.files import md5sum


def archive(name: str) -> Archive:
    """Return the archive with this name on the command line (cifar10-c is CIFAR-10-C); refuse other names."""
    known = {one.command: one for one in ARCHIVES.values()}
    if name not in known:
        raise UserError(f"download: nothing called {name!r}{did_you_mean(name, list(known))}")
    return known[name]


def download(wanted: Archive) -> bool:
    """Download and unpack an archive unless all its arrays are there; return whether there was anything to do."""
    folder = wanted.folder.parent
    with resume.locked(folder / f"{wanted.name}.lock", f"download {wanted.name}", "download"):
        if not wanted.absent(wanted.md5s):
            for name in wanted.md5s:
                wanted.array(name)  # raises UserError for a damaged file
            return False
        tar = fetch(File(f"{wanted.name}.tar", wanted.url, wanted.md5), folder)
        try:
            _unpack(wanted, tar)
        except (OSError, EOFError, tarfile.TarError) as problem:
            raise UserError(
                f"{tar}: cannot be unpacked ({problem}); fix that, such as a full disk, and run the command again"
            ) from problem
    return True


def _unpack(wanted: Archive, tar: Path) -> None:
    """Verify the arrays and move them into the archive's folder, which appears only when it is complete."""
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
        raise UserError(f"{tar}: lacks the published {', '.join(wrong)}; delete it and run the command again")
    shutil.rmtree(wanted.folder, ignore_errors=True)
    draft.replace(wanted.folder)
    tar.unlink()


def _is(path: Path, md5: str) -> bool:
    return path.exists() and md5sum(path) == md5
