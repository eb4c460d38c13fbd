"""Programs with their weights: TorchScript and torch.export files, evaluated as they are."""

import json
import logging
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cure.errors import UserError
from cure.storage.files import sha256

INFLATION, SMALL = 10, 2**20


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
        self.training = any(module.training for module in inside if not [*module.children()])
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


def saved_program(path: Path, device: torch.device) -> Fixed | None:
    """The module of a TorchScript or torch.export file; None for anything else."""
    if not zipfile.is_zipfile(path):
        return None
    with _unpackable(path) as archive:
        inside = [name.partition("/")[2] for name in archive.namelist()]
        if any(name.startswith("models/") for name in inside):
            _refuse_pickles(path, archive)
            kind = "torch.export"
        elif any(name.startswith("code/") for name in inside):
            kind = "TorchScript"
        else:
            return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, its files live on
            logging.disable(logging.WARNING)  # torch.export tells of broken files by a traceback
            read = {"torch.export": _exported, "TorchScript": torch.jit.load}[kind]
            loaded = read(path).to(device)
    except Exception as problem:
        raise UserError(f"{path}: not a readable {kind} file ({' '.join(str(problem).split())[:160]})") from None
    finally:
        logging.disable(logging.NOTSET)
    for weight in loaded.parameters():  # scripted modules refuse requires_grad_
        weight.requires_grad = False
    return Fixed(loaded, sha256(path))


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


def _refuse_pickles(path: Path, archive: zipfile.ZipFile) -> None:
    """torch.export.load would unpickle weights, constants and sample inputs that are no plain tensors."""
    for name in archive.namelist():
        if name.endswith("_config.json"):
            entries = json.loads(archive.read(name)).get("config", {}).items()
            bad = [key for key, meta in entries if meta.get("use_pickle") or "custom_obj" in str(meta.get("path_name"))]
            if bad:
                raise UserError(f"{path}: {bad[0]} is pickled inside, which is never run; export the network again")
        elif name.endswith(".pt"):
            with archive.open(name) as held:
                try:
                    torch.load(held, map_location="cpu", weights_only=True)
                except Exception:
                    raise UserError(f"{path}: {name} holds pickled code, which is never run") from None


def _exported(path: Path) -> nn.Module:
    module: nn.Module = torch.export.load(path).module()
    return module
