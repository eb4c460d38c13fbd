"""Read files safely, and write them whole or not at all."""

import contextlib
import csv
import glob
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cure.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` if the block succeeds, else remove it.

    Temporary files of killed processes are removed first.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if not _runs(old.name.split(".")[-2]):
                old.unlink(missing_ok=True)
        yield draft
        draft.replace(path)
    except OSError as problem:
        raise UserError(f"{path}: cannot be written: {problem.strerror or problem}; nothing was changed") from problem
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be the problem
            draft.unlink(missing_ok=True)


def _runs(pid: str) -> bool:
    """Return whether this machine runs a process with this number."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def refuse_special(path: Path) -> None:
    """Raise UserError for a pipe, a socket or a device, since reading it might never end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: a device or a pipe, not a file")


def read_bytes(path: Path) -> bytes:
    """Read a whole file; raise UserError for a pipe or a device, and OSError as usual."""
    refuse_special(path)
    return path.read_bytes()


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's bytes."""
    return _digest(path, "sha256")


def contents(root: Path, digest: Callable[[Path], str]) -> str:
    """Return a hex digest of a file, or of all files below a folder with their names; '' if the path does not exist.

    Hidden files and folders are ignored.
    """
    if not root.is_dir():
        return digest(root) if root.is_file() else ""
    whole = hashlib.sha256()
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder, name) for name in sorted(names) if not name.startswith(".")):
            whole.update(f"{digest(path)} {path.relative_to(root).as_posix()}\n".encode())
    return whole.hexdigest()


def md5sum(path: Path) -> str:
    """Return the MD5 hex digest of a file's bytes, as publishers of data sets and DVC use it."""
    return _digest(path, "md5")


def _digest(path: Path, kind: str) -> str:
    refuse_special(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, kind).hexdigest()
    except OSError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror or problem}") from problem


def csv_lines(path: Path, columns: list[str], numbers: list[str], made_by: str) -> list[dict[str, str]]:
    """Return the lines of a CSV file, each as column -> text; [] if the file does not exist.

    Args:
        path: The file.
        columns: The columns that every line must have.
        numbers: The columns whose values must be numbers.
        made_by: The command that rewrites the file, for the error message.

    Raises:
        UserError: The file cannot be read, lacks a column, or has a value that is not a number.
    """
    if not path.exists():
        return []
    refuse_special(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            read = csv.DictReader(file, strict=True)
            lines = list(read)
        if missing := [name for name in columns if name not in (read.fieldnames or [])]:
            raise ValueError(f"no column {', '.join(missing)}")
        for line in lines:
            [float(line[name]) for name in numbers]
    except (OSError, TypeError, ValueError, csv.Error) as problem:
        raise UserError(f"{path}: cannot be read ({problem}); run `{made_by}` to rewrite it") from None
    return lines
