"""Keep resume files outside DVC: named by everything that decides the result, locked, and deleted on success."""

import contextlib
import copy
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from cure.errors import UserError
from cure.storage.files import replacing, sha256

FOLDER = Path(os.environ.get("CURE_SCRATCH", "~/.cache/cure/scratch")).expanduser()
SHARE = 0.01  # largest share of the training time spent on saving


class Scratch:
    """The resume file, or folder, of one stage of one run.

    Its name is a hash of the stage, the run, the declared params, the input files, the loaded code and PyTorch's
    version. So a run can only resume itself.
    """

    def __init__(self, stage: str, run: str, params: dict[str, Any], inputs: list[Path]) -> None:
        facts = [stage, run, params, [sha256(path) for path in inputs], code(), torch.__version__]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        self.path = FOLDER / f"{key}.pt"
        self.folder = FOLDER / key  # for work whose results come in parts
        self.label = f"{stage} {run}"

    def locked(self) -> AbstractContextManager[None]:
        """Lock the run; if another process holds the lock, print that and wait."""
        return locked(self.path.with_suffix(".lock"), self.label, "run")

    def load(self) -> dict[str, Any] | None:
        """Return the state of an interrupted run with its parts, or None. Unreadable files count as None."""
        with contextlib.suppress(Exception):
            state: dict[str, Any] = _load(self.path)
            return state | {"parts": {name: _load(self._part(name)) for name in state["parts"]}}
        return None

    def save(self, state: dict[str, Any], parts: Mapping[str, Any], known: set[str]) -> None:
        """Write the parts that are not on disk (`known`), then replace the state. A part never changes."""
        for name in parts.keys() - known:
            _save(self._part(name), parts[name])
            known.add(name)
        _save(self.path, state | {"parts": list(parts)})
        for name in known - parts.keys():
            self._part(name).unlink(missing_ok=True)
            known.remove(name)

    def _part(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '_')}.pt"

    @contextmanager
    def saver(self, known: set[str]) -> Iterator["Saver"]:
        """Yield a Saver for the running training; wait for the disk at the end of the block."""
        with ThreadPoolExecutor(1) as thread:
            saver = Saver(self, thread, known)
            yield saver
            saver.wait()

    def delete(self) -> None:
        """Delete the files of a finished run. The lock file stays, since other processes may be waiting on it."""
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class Saver:
    """Saves a run in a thread, while the training continues.

    Tensors are copied to the host in the order of the device's own work, without waiting for it. A save is skipped
    while another is being written, and as long as saving would exceed `SHARE` of the time. A killed run repeats the
    skipped part with the same result, bit by bit.
    """

    def __init__(self, scratch: Scratch, thread: ThreadPoolExecutor, known: set[str]) -> None:
        self.scratch, self.thread, self.known = scratch, thread, known
        self.writing: Future[float] | None = None

    def save(self, state: dict[str, Any], parts: Mapping[str, Any], *, last: bool = False) -> None:
        """Save the state soon, with its parts, which never change; with `last`, save it in any case.

        Raises:
            UserError: an earlier save could not be written.
        """
        if last:
            self.wait()
        elif self.writing and (not self.writing.done() or time.monotonic() < self.writing.result()):
            return
        new = {name: part if name in self.known else _on_host(part) for name, part in parts.items()}
        held = _on_host(state)
        copied = torch.cuda.Event() if _on_cuda([state, parts]) else None  # type: ignore[no-untyped-call]
        if copied:
            copied.record()
        self.writing = self.thread.submit(self._write, held, new, copied)

    def wait(self) -> None:
        """Wait for the disk; raise UserError if the last save could not be written."""
        if self.writing:
            self.writing.result()

    def _write(self, state: dict[str, Any], parts: Mapping[str, Any], copied: torch.cuda.Event | None) -> float:
        """Write the state and return when the next save is due."""
        begin = time.monotonic()
        if copied:
            copied.synchronize()
        self.scratch.save(state, parts, self.known)
        end = time.monotonic()
        return end + (end - begin) / SHARE


def _on_cuda(tree: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.is_cuda for leaf in tree_leaves(tree))


def _on_host(tree: Any) -> Any:
    """Copy a tree to the host. Copies from a GPU are complete once an event that is recorded afterwards is."""

    def copied(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return copy.copy(leaf)
        leaf = leaf.detach()
        return leaf.to("cpu", non_blocking=True) if leaf.is_cuda else leaf.clone()

    return tree_map(copied, tree)


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _save(path: Path, value: Any) -> None:
    buffer = io.BytesIO()  # since torch.save reports a full disk as a RuntimeError
    torch.save(value, buffer)
    with replacing(path) as draft:
        draft.write_bytes(buffer.getbuffer())


@contextmanager
def locked(path: Path, label: str, what: str) -> Iterator[None]:
    """Lock `path`; if another process holds it, print its number with `what`, and wait. The file itself stays."""
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
            print(f"{label}: process {owner} runs this {what}; waiting until it ends", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):  # on a full disk the lock holds nevertheless
            os.truncate(file.fileno(), 0)
            os.pwrite(file.fileno(), str(os.getpid()).encode(), 0)
        yield


def code() -> list[str]:
    """Return digests of all loaded modules of this project, the running script included."""
    ours = [module for name, module in sys.modules.items() if name.split(".")[0] in ("cure", "__main__")]
    files = [getattr(module, "__file__", None) for module in ours]
    return sorted(sha256(Path(file)) for file in files if file and Path(file).suffix == ".py")
