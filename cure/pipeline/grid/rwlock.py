"""Repair DVC's list of the files that its processes use, .dvc/tmp/rwlock, after a killed process.

DVC writes the list in place, so a process that is killed while writing leaves an empty file, at which every later DVC
command stops. DVC drops the entry of a process that is gone, but it identifies processes by their number alone: on
another host the number may belong to any process.
"""

import contextlib
import fcntl
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA, Invalid

from cure.storage.files import write_text

Entry = dict[str, Any]  # pid and cmd, the command line
OF_GRID = re.compile(r"--cd (?P<folder>.+) --wait-for-lock repro -s (?P<stage>\S+)$")
"""The end of the command line that work.py gives to DVC."""
MODULE = re.compile(r"^.*/dvc/__main__\.py ")
"""The beginning of the command line of `python -m dvc`, as Python writes it."""


def mend(folder: Path) -> None:
    """Delete the list of the project around `folder` if it cannot be read."""
    with _guarded(folder) as path:
        _listed(path)


def strangers(folder: Path, log_of: Callable[[str], Path]) -> list[str]:
    """Repair the list, drop entries of stages of `folder` that no process runs, and return those that cannot be judged.

    An entry belongs to a process of this host if that process has its command line. Otherwise the log of its stage
    decides: the process that runs the stage, on any host, holds the lock on it (keeper.py).
    """
    with _guarded(folder) as path:
        listed = _listed(path)
        every = [*listed["write"].values(), *(entry for entries in listed["read"].values() for entry in entries)]
        judged = [(entry, _lives(entry, folder, log_of)) for entry in every]
        if dead := [entry for entry, lives in judged if lives is False]:
            write = {name: entry for name, entry in listed["write"].items() if entry not in dead}
            read = {name: [entry for entry in entries if entry not in dead] for name, entries in listed["read"].items()}
            kept = {"write": write, "read": {name: entries for name, entries in read.items() if entries}}
            write_text(path, json.dumps(kept))
    return sorted({f"PID {entry['pid']}: {entry['cmd']}" for entry, lives in judged if lives is None})


def _listed(path: Path) -> dict[str, Any]:
    """Read the list; delete one that cannot be read, and treat it as empty, like a missing one."""
    try:
        found: dict[str, Any] = SCHEMA(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        found = SCHEMA({})
    except (ValueError, Invalid):
        path.unlink()
        found = SCHEMA({})
    return found


def _lives(entry: Entry, folder: Path, log_of: Callable[[str], Path]) -> bool | None:
    """Return whether the entry's process is alive, or None if this host cannot determine it."""
    words = MODULE.sub("", entry["cmd"])
    with contextlib.suppress(psutil.Error):
        if " ".join(psutil.Process(entry["pid"]).cmdline()).endswith(words):
            return True
    named = OF_GRID.search(entry["cmd"])
    if not named or Path(named["folder"]) != folder:
        return None
    with log_of(named["stage"]).open("a") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _guarded(folder: Path) -> Iterator[Path]:
    """Hold DVC's own lock on the list, and yield its path."""
    root = Path(Repo.find_root(str(folder)))
    place = root / ".dvc" / "tmp"
    place.mkdir(exist_ok=True)
    with Repo(str(root)) as repo:
        hardlink = repo.config["core"].get("hardlink_lock", False)
    with make_lock(str(place / RWLOCK_LOCK), tmp_dir=str(place), hardlink_lock=hardlink, wait=True):
        yield place / RWLOCK_FILE
