"""Resume files: outside DVC, named by everything that decides the result, locked, deleted on success."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from cure.errors import UserError
from cure.storage.files import replacing, sha256

FOLDER = Path(os.environ.get("CURE_SCRATCH", "~/.cache/cure/scratch")).expanduser()


class Scratch:
    """The resume file, or folder, of one stage of one run.

    Its name hashes the stage, the run, the declared params, the input files, the loaded code and PyTorch's version,
    so that a run can only ever resume itself.
    """

    def __init__(self, stage: str, run: str, params: dict[str, Any], inputs: list[Path]) -> None:
        facts = [stage, run, params, [sha256(path) for path in inputs], code(), torch.__version__]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        self.path = FOLDER / f"{key}.pt"
        self.folder = FOLDER / key  # for work whose results come in parts
        self.label = f"{stage} {run}"

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run; where another process holds it, say so and wait."""
        return locked(self.path.with_suffix(".lock"), self.label, "run")

    def load(self) -> dict[str, Any] | None:
        """The state of an interrupted run, or None. A file that cannot be read counts as none."""
        with contextlib.suppress(Exception):
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            return state
        return None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state as a whole."""
        buffer = io.BytesIO()  # PyTorch tells of a full disk as a RuntimeError
        torch.save(state, buffer)
        with replacing(self.path) as draft:
            draft.write_bytes(buffer.getbuffer())

    def delete(self) -> None:
        """Forget the run: its outputs are written. The lock file stays, since others may be waiting on it."""
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def locked(path: Path, label: str, what: str) -> Iterator[None]:
    """Hold `path`; where another process holds it, say that it is at this `what` and wait. The file itself stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as problem:
        raise UserError(f"{path}: cannot be written: {problem.strerror}") from problem
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            print(f"{label}: process {owner} is at this {what}; waiting for its end", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.truncate(file.fileno(), 0)
            os.pwrite(file.fileno(), str(os.getpid()).encode(), 0)
        yield


def code() -> list[str]:
    """Digests of this project's modules that are loaded, the running script included."""
    ours = [module for name, module in sys.modules.items() if name.split(".")[0] in ("cure", "__main__")]
    files = [getattr(module, "__file__", None) for module in ours]
    return sorted(sha256(Path(file)) for file in files if file and Path(file).suffix == ".py")
