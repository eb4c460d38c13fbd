"""Whom an evaluation is about: the networks in a file of this pipeline, or one network from anywhere."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from cure.core.network import Normalisation
from cure.core.outputs import FirstOutput, outputs
from cure.engine import checkpoint, foreign
from cure.engine.checkpoint import Description
from cure.engine.trajectory import networks


@dataclass(frozen=True)
class Subject:
    """A network on [0, 1] images, in eval mode, and what is known of it."""

    name: str
    net: nn.Module
    notes: list[str] = field(default_factory=list)
    about: Description | None = None


@dataclass(frozen=True)
class Loading:
    """How a stranger's checkpoint becomes a network."""

    model: str | None = None
    factory: str | None = None
    normalisation: Normalisation | None = None

    @property
    def given(self) -> bool:
        """Whether anything was said at all."""
        return any((self.model, self.factory, self.normalisation))


def description(path: Path) -> Description | None:
    """What a file of this pipeline says of itself; None for a stranger's."""
    if path.suffix != ".safetensors" or not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            ours = "cure" in (file.metadata() or {})
    except (SafetensorError, OSError):
        ours = True  # truncated or altered: its reader says so
    return checkpoint.load(path)[0] if ours else None


def own(path: Path) -> list[Subject]:
    """Every network in a file of this pipeline; best, last, revision, ... of a trajectory."""
    about, states = checkpoint.load(path)
    found = dict(sorted(networks(about, states, path).items()))
    return [Subject(path.stem + (f":{name}" if name else ""), net, about=about) for name, net in found.items()]


def strangers(
    path: Path | None,
    how: Loading,
    shape: foreign.Shape,
    settings: dict[str, dict[str, Any]],
    example: torch.Tensor,
) -> list[Subject]:
    """The one network of anybody's checkpoint; of several outputs the first counts."""
    found = foreign.network(
        path,
        shape,
        model=how.model,
        factory=how.factory,
        settings=settings,
        normalisation=how.normalisation,
        device=example.device,
    )
    net, notes = found.net, list(found.notes)
    with torch.no_grad():
        several = len(outputs(net(example)))
    if several > 1:
        net, notes = FirstOutput(net), [*notes, f"the first of its {several} outputs counts"]
    return [Subject(path.stem if path else str(how.factory), net, notes)]
