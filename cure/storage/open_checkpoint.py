"""Open a checkpoint once; distinguish files of this pipeline, external programs and external tensors.

Only weights are read, by safetensors or by torch.load(weights_only=True); pickled code is refused, never run. A program
(TorchScript, torch.export) is code, so it is loaded only for a user who trusts it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from cure.errors import UserError, first_sentence
from cure.storage import checkpoint
from cure.storage.checkpoint import Description, State
from cure.storage.exported_program import Fixed, program_kind
from cure.storage.program_trial import trusted_program


@dataclass(frozen=True)
class OwnCheckpoint:
    """A file that this pipeline wrote, completely read."""

    path: Path
    about: Description
    states: dict[str, State]


class Inert:
    """Replaces an object beside the weights. It accepts whatever its pickle gives it, and keeps nothing."""

    def __init__(self, *given: object, **named: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class InertMapping:
    """Replaces a kind of dictionary by a plain one, since its items may be weights."""

    def __new__(cls, *_given: object) -> Any:
        """Return an empty dictionary."""
        return {}


class InertSequence:
    """Replaces a kind of list by a plain one."""

    def __new__(cls, *_given: object) -> Any:
        """Return an empty list."""
        return []


NUMPY = (
    "dtype",
    "ndarray",
    *(f"{core}.multiarray.{f}" for core in ("core", "_core") for f in ("scalar", "_reconstruct")),
)
PATHS = tuple(f"{kind}{name}" for kind in ("", "_local.") for name in ("Path", "PosixPath", "WindowsPath"))
ATTRIBUTES = tuple(
    f"{package}.AttributeDict"
    for package in (
        "pytorch_lightning.utilities.parsing",
        "lightning.pytorch.utilities.parsing",
        "lightning_fabric.utilities.data",
        "lightning.fabric.utilities.data",
    )
)
HARMLESS: dict[str, type] = {  # objects beside weights, by their name in the pickle; the class itself is never used
    **dict.fromkeys((f"numpy.{name}" for name in NUMPY), Inert),
    **dict.fromkeys((f"pathlib.{name}" for name in PATHS), Inert),
    **dict.fromkeys((f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple")), Inert),
    **dict.fromkeys((f"datetime.{name}" for name in ("date", "datetime", "timedelta", "timezone")), Inert),
    **dict.fromkeys(("argparse.Namespace", "types.SimpleNamespace", "torch.torch_version.TorchVersion"), Inert),
    **dict.fromkeys(("collections.defaultdict", *ATTRIBUTES), InertMapping),
    "collections.deque": InertSequence,
}


@dataclass
class ExternalCheckpoint:
    """A file that this pipeline did not write.

    Its content is read on first use, and kept. So a wrong option is reported before an unreadable file, and nothing is
    loaded before the device is set up.
    """

    path: Path
    file: safe_open | None = None  # the open file, if it is safetensors
    _program: Fixed | None = field(default=None, init=False)

    def is_program(self, trust_code: bool) -> bool:
        """Return whether the file is a program; raise UserError for one that is not trusted.

        Args:
            trust_code: whether the user trusts the code in the file.

        Raises:
            UserError: it is a program that is not trusted, or a damaged archive.
        """
        if self._kind is not None and not trust_code:
            raise UserError(
                f"{self.path}: a {self._kind} file is a program: loading it runs its code. If you trust its author, "
                "pass --trust-code (Python: trust_code=True); else ask for the network's state_dict()"
            )
        return self._kind is not None

    @cached_property
    def _kind(self) -> str | None:
        return program_kind(self.path) if self.file is None else None

    def program(self, example: Tensor, seconds: float) -> Fixed:
        """Return the trusted program, on the device of `example`; see `trusted_program`."""
        if self._program is None:
            self._program = trusted_program(self.path, str(self._kind), example, seconds)
        return self._program

    @cached_property
    def held(self) -> Any:
        """Return the content of a file that is not a program: tensors in plain, nested containers, on the CPU."""
        try:
            if self.file is not None:
                return self.file.get_tensors()  # type: ignore[no-untyped-call]
            names: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(k, n) for n, k in HARMLESS.items()]
            with torch.serialization.safe_globals(names):
                return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as problem:  # torch.load and safetensors raise a dozen exceptions for bytes of other formats
            reason = " ".join(str(problem).split())
            if pickled := re.search(r"GLOBAL ([\w.]+)", reason):
                raise UserError(
                    f"{self.path}: holds pickled code ({pickled[1]}), which is never run; "
                    "save the network's state_dict() alone"
                ) from None
            raise UserError(f"{self.path}: not a readable checkpoint ({first_sentence(problem)})") from None


Checkpoint = OwnCheckpoint | ExternalCheckpoint


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file as a checkpoint of this pipeline or an external one; `cure eval` opens checkpoints only here.

    A damaged safetensors file counts as one of this pipeline, since its description cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path}: not found")
    if path.suffix != ".safetensors":
        return ExternalCheckpoint(path)
    file = checkpoint.opened(path)
    own = checkpoint.described(file, path)
    return OwnCheckpoint(path, *own) if own else ExternalCheckpoint(path, file)
