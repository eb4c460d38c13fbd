"""Load networks from external checkpoints: state dicts in any usual wrapping, TorchScript, torch.export, a factory."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cure import catalogue
from cure.core.network import Normalisation, Normalise
from cure.errors import UserError, did_you_mean, exit_refused, first_sentence
from cure.settings import problems
from cure.storage.checkpoint import build
from cure.storage.fitted_network import fitted
from cure.storage.open_checkpoint import ExternalCheckpoint
from cure.storage.state_dict_layouts import state_dicts

LIBRARIES = ("timm", "torchvision")  # libraries whose models --model can build


@dataclass
class ExternalNetwork:
    """A network on [0, 1] images and the assumptions under which it was loaded."""

    net: nn.Module
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Shape:
    """The image channels and the number of classes of a data set."""

    channels: int
    classes: int


@dataclass(frozen=True)
class Loading:
    """The options that decide how an external checkpoint becomes a network."""

    model: str | None = None  # builds the network of a state dict: an entry of cure/models, or LIBRARY:NAME
    factory: str | None = None  # pkg.mod:fn, a function that builds the network
    normalisation: Normalisation | None = None
    key: str | None = None  # selects one of several networks in a file
    trust_code: bool = False  # whether to run a file that is a program
    factory_args: dict[str, Any] = field(default_factory=dict)  # arguments of the factory, or of the library's builder

    @property
    def external(self) -> bool:
        """Return whether an option was given that does not apply to files of this pipeline."""
        return any((self.model, self.factory, self.normalisation, self.factory_args))


def network(
    checkpoint: ExternalCheckpoint | None,
    loading: Loading,
    shape: Shape,
    settings: Mapping[str, dict[str, Any]],
    example: torch.Tensor,
    program_seconds: float,
) -> ExternalNetwork:
    """Load the network of an external checkpoint.

    A state dict is loaded into the given model: an entry of cure/models, a library's model, or the factory's network.
    Without one, it must fit exactly one model of cure/models.

    Args:
        checkpoint: the file; None for the factory's own network.
        loading: the options of the user.
        shape: channels and classes of the data set.
        settings: of the models in cure/models, by name.
        example: images (n, c, h, w) in [0, 1] from the evaluation.
        program_seconds: time limit to load a program and run it once.

    Returns:
        The network in eval mode on the device of `example`.

    Raises:
        UserError: the file or an option is wrong, or the file is a program that is not trusted.
    """
    if loading.factory_args and not loading.factory and _library(loading.model) is None:
        raise UserError("--factory-args: only with --factory, or with --model timm:NAME or torchvision:NAME")
    if loading.key is not None and (checkpoint is None or checkpoint.is_program(loading.trust_code)):
        raise UserError(f"--key {loading.key}: {_place(checkpoint)} has only one network; leave --key out")
    if checkpoint is None:
        found = ExternalNetwork(_factory_alone(loading))
    elif checkpoint.is_program(loading.trust_code):
        found = ExternalNetwork(checkpoint.program(example, program_seconds))
    else:
        found = _from_tensors(checkpoint.path, checkpoint.held, shape, loading, settings)
    if loading.normalisation is not None:
        _normalise(found, loading.normalisation, shape, checkpoint.path if checkpoint else None)
    found.net.to(example.device).requires_grad_(False)
    found.net.train(False)
    return found


def _place(checkpoint: ExternalCheckpoint | None) -> str:
    return str(checkpoint.path) if checkpoint else "the result of --factory"


def _normalise(found: ExternalNetwork, normalisation: Normalisation, shape: Shape, path: Path | None) -> None:
    """Put the normalisation of the command line before the network; raise UserError if it has its own."""
    if len(normalisation.mean) != shape.channels or len(normalisation.std) != shape.channels:
        raise UserError(f"--mean and --std need one value for each of the {shape.channels} channels")
    if any(isinstance(module, Normalise) for module in found.net.modules()):
        raise UserError(f"{path}: has its own normalisation; leave --mean and --std out")
    if twice := [name for name, _ in found.net.named_buffers() if name.rpartition(".")[2] in ("mean", "mu")]:
        found.notes.append(f"--mean and --std come before the network's own {twice[0]}: is it normalised twice?")
    found.net = nn.Sequential(Normalise(normalisation), found.net)


def _factory_alone(loading: Loading) -> nn.Module:
    if loading.factory is None:
        raise UserError("nothing to evaluate: name a checkpoint, or a --factory that returns a network with weights")
    return from_factory(loading.factory, loading.factory_args)


def _from_tensors(
    path: Path, held: Any, shape: Shape, loading: Loading, settings: Mapping[str, dict[str, Any]]
) -> ExternalNetwork:
    states = dict(state_dicts(held))
    if not states:
        raise UserError(f"{path}: holds no state dict (no mapping from names to tensors)")
    nets: dict[str, nn.Module]
    if loading.factory is not None:
        nets = {loading.factory: from_factory(loading.factory, loading.factory_args)}
    elif loading.model is not None and (library := _library(loading.model)) is not None:
        nets = {loading.model: from_library(library, loading.model, shape, loading.factory_args)}
    else:
        names = [loading.model] if loading.model else [n for n in catalogue.names("models") if n in settings]
        for name in names:
            _check_settings(name, settings.get(name, {}))
        nets = {name: build(name, settings.get(name, {}), shape.channels, shape.classes) for name in names}
    return ExternalNetwork(*fitted(path, nets, states, loading.key, shape.channels))


def _check_settings(model: str, settings: Any) -> None:
    problems.fill(catalogue.hyper("models", model), settings or {}, f"models.{model}", found := problems.Problems())
    if found:
        raise UserError(f"--model {model}: {'; '.join(found)}; name a params.yaml that has its settings by --params")


def _library(model: str | None) -> str | None:
    """Return the library of a model that is written LIBRARY:NAME; None for an entry of cure/models."""
    library, colon, _ = (model or "").partition(":")
    if colon and library not in LIBRARIES:
        raise UserError(f"--model {model}: no such library; known: {', '.join(f'{name}:NAME' for name in LIBRARIES)}")
    return library if colon else None


def from_library(library: str, model: str, shape: Shape, arguments: dict[str, Any]) -> nn.Module:
    """Build an untrained network of timm or torchvision.

    Args:
        library: timm or torchvision.
        model: LIBRARY:NAME.
        shape: its number of classes and, for timm, of channels.
        arguments: passed to the builder; they override those of `shape`.

    Raises:
        UserError: the library is not installed, has no such model, or cannot build it with these arguments.
    """
    name = model.partition(":")[2]
    with exit_refused(f"--model {model}"):
        try:
            module = importlib.import_module("timm" if library == "timm" else "torchvision.models")
        except ImportError:
            told = f"the package {library} is not installed; `uv pip install {library}` installs it"
            raise UserError(f"--model {model}: {told}") from None
        known = module.list_models() if library == "timm" else module.list_models(module=module)
        if name not in known:
            raise UserError(f"--model {model}: {library} has no such model{did_you_mean(name, known)}")
        how: dict[str, Any] = {"pretrained": False, "in_chans": shape.channels}
        if library == "torchvision":
            how = {"weights": None}
        make = module.create_model if library == "timm" else module.get_model
        try:
            net: nn.Module = make(name, **{**how, "num_classes": shape.classes, **arguments})
        except Exception as problem:  # code of the library may raise anything
            raise UserError(f"--model {model}: {first_sentence(problem)}") from None
    return net


def from_factory(factory: str, arguments: dict[str, Any] | None = None) -> nn.Module:
    """Build a network with a function of the user's own.

    Args:
        factory: pkg.mod:fn. The module may be in the working folder.
        arguments: keyword arguments of fn.

    Raises:
        UserError: there is no such function, it fails or exits, or it does not return a torch.nn.Module.
    """
    module, _, name = factory.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # at the end of the path, and for good: the network may import more when it runs
    try:
        with exit_refused(f"--factory {factory}"):
            net = getattr(importlib.import_module(module), name)(**(arguments or {}))
    except UserError:
        raise
    except Exception as problem:  # the user's own code may raise anything
        raise UserError(
            f"--factory {factory}: {first_sentence(problem)}; it must be package.module:function of no arguments but "
            "those of --factory-args"
        ) from None
    if not isinstance(net, nn.Module):
        raise UserError(f"--factory {factory}: returned a {type(net).__name__}, not a torch.nn.Module")
    return net
