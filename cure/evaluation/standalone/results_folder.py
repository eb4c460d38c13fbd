"""Manage the folder of one network's evaluation: its owner, and the notes of an interrupted run."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter
from torch import nn

from cure.core.tensors import Images
from cure.errors import UserError
from cure.evaluation.diagnostics.behaviour import alike, behaviour
from cure.evaluation.work_items import digest
from cure.storage.files import sha256, write_text

T = TypeVar("T")
OWNER = "network"  # the file that records the network of a folder


@dataclass(frozen=True)
class Owner:
    """A network's identity: its digest, and its outputs on fixed images of a shape."""

    digest: str
    shape: list[int]
    behaviour: list[float]

    @classmethod
    def read(cls, text: str) -> "Owner":
        """Read a note; raise ValueError if it is damaged."""
        return TypeAdapter(cls).validate_json(text)

    def is_other(self, than: "Owner") -> bool:
        """Return whether `self` and `than` belong to different networks."""
        known = self.behaviour and than.behaviour and self.shape == than.shape
        return self.digest != than.digest or bool(known and not alike(self.behaviour, than.behaviour))


def claimed(folder: Path | None, net: nn.Module, file: Path | None, x: Images) -> Callable[[], None]:
    """Raise UserError for a folder of another network; return the function that records this one after the preflight.

    `x` are images (n, c, h, w) of the evaluation, on its device.
    """
    if folder is None:
        return lambda: None
    shape = list(x.shape[1:])
    mine = Owner(network_digest(net, file), shape, behaviour(net, shape, x.device))
    refuse_other_network(folder, mine)
    return partial(note_network, folder, mine)


def network_digest(net: nn.Module, file: Path | None) -> str:
    """Return a digest of the kinds of modules and the weights; for a network without its own weights, of its `file`."""
    kinds, state = [type(module).__qualname__ for module in net.modules()], net.state_dict()
    return digest([kinds, sha256(file) if file and not state else ""], dict(sorted(state.items())))


def refuse_other_network(folder: Path, mine: Owner) -> None:
    """Raise UserError for a folder with the evaluation of another network, whose files would be replaced silently."""
    owner = noted(folder / OWNER, Owner.read)
    if owner is None and (folder / "results.json").exists():
        raise UserError(f"{folder}: its results do not record their network; name another folder, or delete it")
    if owner is not None and owner.is_other(mine):
        raise UserError(f"{folder}: holds the evaluation of another network; name another folder, or delete it")


def note_network(folder: Path, mine: Owner) -> None:
    """Record the network of a folder, before anything else is written there."""
    if noted(folder / OWNER, Owner.read) is None:
        write_text(folder / OWNER, json.dumps(asdict(mine)))


def noted(path: Path, read: Callable[[str], T]) -> T | None:
    """Read a note with `read`; return None if there is none, or if it is damaged and `read` raises ValueError."""
    try:
        return read(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        return None


def number(most: int) -> Callable[[str], int]:
    """Return a function that reads a number from 1 to `most`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
            raise ValueError(text)
        return int(text)

    return read
