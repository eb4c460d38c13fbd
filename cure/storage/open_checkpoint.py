"""Open a checkpoint once, and tell a file of this pipeline from an external program and from external tensors.

Weights only: a file is read by safetensors or by torch.load(weights_only=True); pickled code is refused, never run.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from cure.errors import UserError, first_sentence
from cure.storage import checkpoint
from cure.storage.checkpoint import Description, State
from cure.storage.exported_program import Fixed, saved_program


@dataclass(frozen=True)
class OwnCheckpoint:
    """A file that this pipeline wrote, read whole."""

    path: Path
    about: Description
    states: dict[str, State]


@dataclass(frozen=True)
class ExternalTensors:
    """What an external checkpoint holds if it is not a program: tensors in plain containers of any nesting."""

    held: Any


@dataclass
class ExternalCheckpoint:
    """A file that this pipeline did not write.

    Its content is read when it is first needed, and kept. So a wrong option is reported before an unreadable file, and
    nothing is loaded before the device is set up.
    """

    path: Path
    file: safe_open | None = None  # the open file, if it is safetensors
    _content: Fixed | ExternalTensors | None = field(default=None, init=False)

    def content(self, device: torch.device) -> Fixed | ExternalTensors:
        """Return the saved program, on `device`, or the tensors, on the CPU."""
        if self._content is None:
            program = saved_program(self.path, device) if self.file is None else None
            self._content = program or ExternalTensors(self._tensors())
        return self._content

    def _tensors(self) -> Any:
        try:
            if self.file is not None:
                return self.file.get_tensors()  # type: ignore[no-untyped-call]
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as problem:  # torch.load and safetensors fail in a dozen ways on bytes of other formats
            reason = " ".join(str(problem).split())
            if pickled := re.search(r"GLOBAL:? ([\w.]+)|Unsupported (?:global|class)", reason):
                named = f" ({pickled.group(1)})" if pickled.group(1) else ""
                raise UserError(
                    f"{self.path}: holds pickled code{named}, which is never run; save the network's state_dict() alone"
                ) from None
            raise UserError(f"{self.path}: not a readable checkpoint ({first_sentence(problem)})") from None


Checkpoint = OwnCheckpoint | ExternalCheckpoint


def open_checkpoint(path: Path) -> Checkpoint:
    """Open the file and say who wrote it; the only place where `cure eval` opens a checkpoint.

    A damaged safetensors file counts as one of this pipeline, since its description cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path}: not found")
    if path.suffix != ".safetensors":
        return ExternalCheckpoint(path)
    file = checkpoint.opened(path)
    own = checkpoint.described(file, path)
    return OwnCheckpoint(path, *own) if own else ExternalCheckpoint(path, file)
