"""Load the evaluated networks: those in a file of this pipeline, or one external network."""

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cure import catalogue
from cure.core.names import RECONSTRUCTIONS
from cure.errors import UserError, did_you_mean
from cure.nn.batchnorm import scope
from cure.nn.inputs import OnACopy
from cure.nn.outputs import FirstOutput, named, outputs
from cure.storage import external_checkpoint
from cure.storage.checkpoint import Description
from cure.storage.exported_program import Fixed
from cure.storage.external_checkpoint import Loading, Shape
from cure.storage.open_checkpoint import Checkpoint, OwnCheckpoint
from cure.storage.training_checkpoint import networks


@dataclass(frozen=True)
class Subject:
    """A network on [0, 1] images, in eval mode, with its name, notes for the user and its description if it has one."""

    name: str
    net: nn.Module
    notes: list[str] = field(default_factory=list)
    about: Description | None = None


def subjects(
    checkpoint: Checkpoint | None,
    loading: Loading,
    shape: Shape,
    settings: Mapping[str, dict[str, Any]],
    example: torch.Tensor,
    program_seconds: float,
) -> list[Subject]:
    """Return every network in a file of this pipeline, or the one network of an external checkpoint or a factory.

    Args:
        checkpoint: the opened file; None for a factory.
        loading: the options of the user.
        shape: channels and classes of the data set.
        settings: of the models in cure/models, by name.
        example: images (n, c, h, w) in [0, 1] from the evaluation.
        program_seconds: time limit to load a program and run it once.
    """
    if isinstance(checkpoint, OwnCheckpoint):
        return _own_networks(checkpoint, loading.key)
    found = external_checkpoint.network(checkpoint, loading, shape, settings, example, program_seconds)
    net, notes = with_single_float32_output(found.net, example)
    name = checkpoint.path.stem if checkpoint else str(loading.factory)
    which = f":{loading.key.replace('/', '-')}" if loading.key else ""  # since the name becomes that of a folder
    return [Subject(name + which, net, [*found.notes, *notes])]


def _own_networks(checkpoint: OwnCheckpoint, key: str | None) -> list[Subject]:
    """Build every network in the file, or the one that `key` names.

    Those of a training checkpoint are called best, last, revision, ...
    """
    about, path = checkpoint.about, checkpoint.path
    method = catalogue.entry("methods", about.method).METHOD if about.kind == "trajectory" else None
    found = dict(sorted(networks(about, checkpoint.states, path, method).items()))
    if key is not None and key not in found:
        raise UserError(f"{path}: --key {key}: no such network{did_you_mean(key, [name for name in found if name])}")
    chosen = found if key is None else {key: found[key]}
    notes = [RECONSTRUCTIONS[about.method]] if about.method in RECONSTRUCTIONS else []
    return [Subject(path.stem + (f":{name}" if name else ""), net, notes, about) for name, net in chosen.items()]


def with_single_float32_output(net: nn.Module, example: torch.Tensor) -> tuple[nn.Module, list[str]]:
    """Return `net`, or a substitute that returns one float32 tensor of logits, and notes that name each change.

    Weights of another precision that cannot process float32 images are copied in float32. Of several outputs the first
    (or `logits`) is used. A network that changes its images receives a copy of them. The preflight checks report every
    other fault.
    """
    notes = []
    own = example.clone()
    untouched = own._version, own.shape
    found = _output_or_none(net, own)
    if (own._version, own.shape) != untouched:  # also if the values end unchanged, as under clamp_(0, 1)
        net, notes = OnACopy(net).eval(), ["changes its images in place, so each forward pass receives a copy of them"]
    if found is None and (other := _other_precision(net)):
        copied = _in_float32(net)
        if copied is not None and (found := _output_or_none(copied, example)) is not None:
            net, notes = copied, [*notes, f"weights of {other}, evaluated in float32"]
    if found is None or isinstance(found, torch.Tensor):
        return net, notes
    count = len(outputs(found))
    which = "`logits`" if "logits" in (named(found) or {}) else "the first"
    return FirstOutput(net).eval(), [*notes, f"uses {which} of its {count} output{'s' * (count > 1)}"]


def _output_or_none(net: nn.Module, example: torch.Tensor) -> Any:
    """Return the output of an external network, or None if it fails in any way."""
    with scope(net, "eval"), torch.no_grad(), suppress(Exception):
        return net(example)
    return None


def _other_precision(net: nn.Module) -> str:
    """Name the precisions of weights that are not float32, or return an empty text."""
    owners = [module.held[0] if isinstance(module, Fixed) else module for module in net.modules()]
    weights = [weight for owner in owners for weight in owner.parameters() if weight.is_floating_point()]
    return " and ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in weights} - {"float32"}))


def _in_float32(net: nn.Module) -> nn.Module | None:
    with suppress(Exception):  # external modules may refuse both
        return copy.deepcopy(net).float()
    return None
