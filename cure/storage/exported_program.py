"""Programs with their weights: TorchScript and torch.export files, evaluated as they are.

To load such a file is to run it: PyTorch compiles, evaluates and unpickles what stands inside. No list of ours says
what is harmless there, so nothing here is called for a file that the user does not trust, except `program_kind`.
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
    """An exported program: its mode, device and weights were decided when it was made.

    One that was saved in training mode stays in it, for the preflight to see.
    """

    def __init__(self, program: nn.Module, digest: str) -> None:
        super().__init__()
        self.held = [program]  # not a submodule: exported modules refuse train() and eval()
        self.digest = digest  # of the file; the state dict of this wrapper is empty

    def train(self, mode: bool = True) -> "Fixed":
        """The mode of a TorchScript program: that of its innermost modules. An export does not say its own."""
        inside = self.held[0].modules() if isinstance(self.held[0], torch.jit.ScriptModule) else ()
        # a frozen program has no mode of its own: it was frozen in eval mode
        self.training = any(getattr(module, "training", False) for module in inside if not [*module.children()])
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Casts and moves reach the program."""
        self.held[0]._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """What tells two programs apart, and the units of their evaluations with them."""
        return self.digest

    def forward(self, x: Tensor) -> Any:
        """Whatever the program returns."""
        return self.held[0](x)


def frozen_program(program: torch.jit.ScriptModule) -> Fixed:
    """Return a frozen TorchScript program in memory as a network; it has no mode, so nothing can put it into one."""
    written = io.BytesIO()
    torch.jit.save(program, written)
    return Fixed(program, hashlib.sha256(written.getvalue()).hexdigest())


def program_kind(path: Path) -> str | None:
    """Tell whether a file is a program, by the names of its members alone; nothing inside is read.

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
        kind: what `program_kind` says of it.
        device: where its weights are put.

    Returns:
        The program, no weight of which asks for a gradient.

    Raises:
        UserError: PyTorch cannot read the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, its files live on
            logging.disable(logging.WARNING)  # torch.export tells of broken files by a traceback
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
    """The archive, if it is whole and of about the size that it unpacks to; PyTorch hardly compresses."""
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
