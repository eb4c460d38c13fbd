"""Load programs with their weights: TorchScript and torch.export files, evaluated unchanged.

To load such a file is to run it: PyTorch compiles, evaluates and unpickles its content. We cannot list what is harmless
there. So for a file that the user does not trust, `program_kind` is the only function called.
"""

import hashlib
import io
import logging
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cure.errors import UserError

INFLATION, SMALL = 10, 2**20
OLD_EXPORT = "serialized_exported_program.json"  # at the top of torch.export files before PyTorch 2.8


class Fixed(nn.Module):
    """An exported program. Its mode and device were fixed when it was exported.

    A program that was exported in training mode stays in it, and the preflight checks report that.
    """

    def __init__(self, program: nn.Module, digest: str) -> None:
        super().__init__()
        self.held = [program]  # not a submodule, because exported modules refuse train() and eval()
        self.digest = digest  # of the file; the state dict of this wrapper is empty

    def train(self, mode: bool = True) -> "Fixed":
        """Set `training` to that of a TorchScript program's innermost modules, False for an export; ignore `mode`."""
        inside = self.held[0].modules() if isinstance(self.held[0], torch.jit.ScriptModule) else ()
        # a frozen program has no mode of its own: it was frozen in eval mode
        self.training = any(getattr(module, "training", False) for module in inside if not [*module.children()])
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Apply casts and moves to the program as well."""
        self.held[0]._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Return the digest, by which two programs and the work items of their evaluations differ."""
        return self.digest

    def forward(self, x: Tensor) -> Any:
        """Return the program's output, of any type."""
        return self.held[0](x)


def frozen_program(program: torch.jit.ScriptModule) -> Fixed:
    """Wrap a frozen TorchScript program in memory. It has no mode, so none can be set."""
    written = io.BytesIO()
    torch.jit.save(program, written)
    return Fixed(program, hashlib.sha256(written.getvalue()).hexdigest())


def program_kind(path: Path) -> str | None:
    """Detect whether a file is a program from the names of its archive members, without reading their content.

    Args:
        path: any file.

    Returns:
        "torch.export" or "TorchScript"; None for anything else.

    Raises:
        UserError: the file is a damaged archive, or one that would unpack to many times its size.
    """
    if not zipfile.is_zipfile(path):
        return None
    with _unpackable(path) as archive:
        names = archive.namelist()
    inside = [name.partition("/")[2] for name in names]
    if OLD_EXPORT in names or any(name.startswith("models/") for name in inside):
        return "torch.export"
    return "TorchScript" if any(name.startswith("code/") for name in inside) else None


def read_program(path: Path, kind: str, device: torch.device) -> nn.Module:
    """Load a program, which runs the code in the file.

    Args:
        path: a file that the user trusts.
        kind: the result of `program_kind`.
        device: the device of its weights.

    Returns:
        The program. None of its weights requires a gradient.

    Raises:
        UserError: PyTorch cannot read the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, but its files remain in use
            logging.disable(logging.WARNING)  # torch.export logs a traceback for broken files
            loaded: nn.Module
            if kind == "TorchScript":
                loaded = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
            else:
                loaded = torch.export.load(path).module().to(device)
    except Exception as problem:
        raise UserError(f"{path}: not a readable {kind} file ({' '.join(str(problem).split())[:160]})") from None
    finally:
        logging.disable(logging.NOTSET)
    for weight in loaded.parameters():  # scripted modules refuse requires_grad_
        weight.requires_grad = False
    return loaded


def _unpackable(path: Path) -> zipfile.ZipFile:
    """Open the archive; raise UserError if it is damaged or unpacks to many times its size (PyTorch hardly packs)."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as problem:
        raise UserError(f"{path}: not a readable checkpoint ({problem})") from None
    packed, unpacked = path.stat().st_size, sum(member.file_size for member in archive.infolist())
    if unpacked > INFLATION * max(packed, SMALL):
        raise UserError(
            f"{path}: {packed:,} bytes that would unpack to {unpacked:,}; no checkpoint is packed like that"
        )
    return archive
