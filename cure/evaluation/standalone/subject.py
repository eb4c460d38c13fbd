"""Whom an evaluation is about: the networks in a file of this pipeline, or one network from anywhere."""

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from cure import catalogue
from cure.core.network import Normalisation
from cure.nn.batchnorm import scope
from cure.nn.outputs import FirstOutput, outputs
from cure.storage import checkpoint, external_checkpoint
from cure.storage.checkpoint import Description
from cure.storage.exported_program import Fixed
from cure.storage.training_checkpoint import networks


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


def own_networks(path: Path) -> list[Subject]:
    """Every network in a file of this pipeline; best, last, revision, ... of a trajectory."""
    about, states = checkpoint.load(path)
    prepare = catalogue.entry("methods", about.method).METHOD.prepare if about.kind == "trajectory" else None
    found = dict(sorted(networks(about, states, path, prepare).items()))
    return [Subject(path.stem + (f":{name}" if name else ""), net, about=about) for name, net in found.items()]


def external_network(
    path: Path | None,
    how: Loading,
    shape: external_checkpoint.Shape,
    settings: dict[str, dict[str, Any]],
    example: torch.Tensor,
) -> list[Subject]:
    """The one network of anybody's checkpoint."""
    found = external_checkpoint.network(
        path,
        shape,
        model=how.model,
        factory=how.factory,
        settings=settings,
        normalisation=how.normalisation,
        device=example.device,
    )
    net, notes = settled(found.net, example)
    return [Subject(path.stem if path else str(how.factory), net, [*found.notes, *notes])]


def settled(net: nn.Module, example: torch.Tensor) -> tuple[nn.Module, list[str]]:
    """`net`, or what has to stand in its place to return one float32 tensor of logits, and notes that say so.

    Weights of another precision that cannot take float32 images are copied in float32; of several outputs the first
    counts. Whatever else is wrong with it, the preflight says.
    """
    notes = []
    found = _tried(net, example)
    if found is None and (other := _precision(net)):
        copied = _in_float32(net)
        if copied is not None and (found := _tried(copied, example)) is not None:
            net, notes = copied, [f"weights of {other}, evaluated in float32"]
    if found is None or isinstance(found, torch.Tensor):
        return net, notes
    count = len(outputs(found))
    which = "`logits` count" if isinstance(found, Mapping) and "logits" in found else "the first counts"
    return FirstOutput(net).eval(), [*notes, f"of its {count} output{'s' * (count > 1)} {which}"]


def _tried(net: nn.Module, example: torch.Tensor) -> Any:
    """What a foreign network returns; None where it fails, in whatever way."""
    with scope(net, "eval"), torch.no_grad(), suppress(Exception):
        return net(example)
    return None


def _precision(net: nn.Module) -> str:
    """The precision of weights that are not float32, or nothing."""
    owners = [module.held[0] if isinstance(module, Fixed) else module for module in net.modules()]
    weights = [weight for owner in owners for weight in owner.parameters() if weight.is_floating_point()]
    return " and ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in weights} - {"float32"}))


def _in_float32(net: nn.Module) -> nn.Module | None:
    with suppress(Exception):  # foreign modules may refuse both
        return copy.deepcopy(net).float()
    return None
