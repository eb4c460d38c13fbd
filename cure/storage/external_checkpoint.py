"""Networks from external checkpoints: state dicts in every usual wrapping, TorchScript, torch.export, or a factory."""

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cure import catalogue
from cure.core.network import Normalisation, Normalise
from cure.errors import UserError
from cure.settings import problems
from cure.storage.checkpoint import State, build, fill
from cure.storage.exported_program import Fixed
from cure.storage.open_checkpoint import ExternalCheckpoint

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "sub_block1.", "1.")
STATISTICS = {"mean": re.compile(r"(^|[._])(mu|mean)$"), "std": re.compile(r"(^|[._])(sigma|std)$")}


@dataclass
class ExternalNetwork:
    """A network on [0, 1] images and the assumptions under which it was loaded."""

    net: nn.Module
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Shape:
    """The image channels and the number of classes of the data set."""

    channels: int
    classes: int


def network(
    checkpoint: ExternalCheckpoint | None,
    shape: Shape,
    *,
    model: str | None,
    factory: str | None,
    settings: Mapping[str, dict[str, Any]],
    normalisation: Normalisation | None,
    device: torch.device,
) -> ExternalNetwork:
    """Return the network in `checkpoint`, in eval mode on `device`.

    A state dict is loaded into the catalogue's `model`, or into what `factory` (pkg.mod:fn) builds. `settings` are
    those of the catalogue's models. A state dict that fits exactly one of them needs neither. Without a checkpoint,
    the network is the factory's own.
    """
    if checkpoint is None:
        found = ExternalNetwork(_factory_alone(factory))
    elif isinstance(content := checkpoint.content(device), Fixed):
        found = ExternalNetwork(content)
    else:
        found = _from_tensors(checkpoint.path, content.held, shape, model, factory, settings)
    if normalisation is not None:
        _normalise(found, normalisation, shape, checkpoint.path if checkpoint else None)
    found.net.to(device).requires_grad_(False)
    found.net.train(False)
    return found


def _normalise(found: ExternalNetwork, normalisation: Normalisation, shape: Shape, path: Path | None) -> None:
    """Put the normalisation of the command line before the network, unless it normalises by itself."""
    if len(normalisation.mean) != shape.channels or len(normalisation.std) != shape.channels:
        raise UserError(f"--mean and --std need one value for each of the {shape.channels} channels")
    if any(isinstance(module, Normalise) for module in found.net.modules()):
        raise UserError(f"{path}: brings a normalisation of its own, so leave --mean and --std out")
    if twice := [name for name, _ in found.net.named_buffers() if name.rpartition(".")[2] in ("mean", "mu")]:
        found.notes.append(f"--mean and --std come before the network's own {twice[0]}: is it normalised twice?")
    found.net = nn.Sequential(Normalise(normalisation), found.net)


def _factory_alone(factory: str | None) -> nn.Module:
    if factory is None:
        raise UserError("nothing to evaluate: name a checkpoint, or a --factory that returns a network with weights")
    return from_factory(factory)


def _from_tensors(
    path: Path,
    held: Any,
    shape: Shape,
    model: str | None,
    factory: str | None,
    settings: Mapping[str, dict[str, Any]],
) -> ExternalNetwork:
    states = dict(state_dicts(held))
    if not states:
        raise UserError(f"{path}: holds no state dict (no mapping from names to tensors)")
    if factory is not None:
        return _first_fit(path, {factory: from_factory(factory)}, states)
    names = [model] if model else [name for name in catalogue.names("models") if name in settings]
    for name in names:
        _check_settings(name, settings.get(name, {}))
    nets = {name: build(name, settings.get(name, {}), shape.channels, shape.classes) for name in names}
    return _first_fit(path, dict(nets), states)


def _check_settings(model: str, settings: Any) -> None:
    problems.fill(catalogue.hyper("models", model), settings or {}, f"models.{model}", found := problems.Problems())
    if found:
        raise UserError(f"--model {model}: {'; '.join(found)}; name a params.yaml that has its settings by --params")


def from_factory(factory: str) -> nn.Module:
    """Return the module that `pkg.mod:fn` builds; fn takes no argument and is the user's own code."""
    module, _, name = factory.partition(":")
    try:
        net = getattr(importlib.import_module(module), name)()
    except Exception as problem:  # the user's own code may fail in any way
        raise UserError(f"--factory {factory}: {problem}; it must be package.module:function of no arguments") from None
    if not isinstance(net, nn.Module):
        raise UserError(f"--factory {factory}: returned a {type(net).__name__}, not a torch.nn.Module")
    return net


def state_dicts(held: Any, name: str = "", around: tuple[int, ...] = ()) -> Iterator[tuple[str, State]]:
    """Yield every mapping from names to tensors inside, by its place (state_dict, model.ema, ...); skip optimisers."""
    if isinstance(held, nn.Module) or not isinstance(held, Mapping) or id(held) in around:  # it may hold itself
        return
    plain = {key: value for key, value in held.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if plain and len(plain) >= len(held) / 2:
        yield name, plain
        return
    for key, value in held.items():
        if isinstance(key, str) and not key.startswith("optim"):
            yield from state_dicts(value, f"{name}.{key}" if name else key, (*around, id(held)))


def without_prefixes(state: State) -> State:
    """Remove the prefixes that DataParallel, torch.compile and wrapping classes leave, repeatedly if they are nested.

    The mean and standard deviation of the images, which a wrapper holds beside the network, need not share them.
    """
    while True:
        inner = [key for key in state if not any(pattern.search(key) for pattern in STATISTICS.values())]
        shared = [prefix for prefix in PREFIXES if inner and all(key.startswith(prefix) for key in inner)]
        if not shared:
            return state
        state = {key.removeprefix(shared[0]): tensor for key, tensor in state.items()}


def _first_fit(path: Path, nets: dict[str, nn.Module], states: dict[str, State]) -> ExternalNetwork:
    """Load the first state dict that fits a network; if none fits, raise the complaint about the first."""
    complaints = []
    for place, raw in states.items():
        for name, net in nets.items():
            notes, state = [], without_prefixes(raw)
            normalisation, state = _split_normalisation(net, state)
            if normalisation is not None:
                notes.append(f"normalisation of the checkpoint: mean {normalisation.mean}, std {normalisation.std}")
            state = _with_batch_counters(net, state)
            try:
                fill(
                    net, {key: t.float() if t.is_floating_point() else t for key, t in state.items()}, f"{path}: {name}"
                )
            except UserError as refused:
                complaints.append(str(refused))
                continue
            others = [other or "the file itself" for other in states if other != place]
            notes += [f"weights of {place or 'the file itself'}, not of {', '.join(others)}"] if others else []
            notes += [f"network {name}"] if len(nets) > 1 else []
            kinds = {str(t.dtype).removeprefix("torch.") for t in state.values() if t.is_floating_point()} - {"float32"}
            notes += [f"weights of {' and '.join(sorted(kinds))}, evaluated in float32"] if kinds else []
            whole = nn.Sequential(Normalise(normalisation), net) if normalisation else net
            return ExternalNetwork(whole, notes)
    if len(nets) == 1:
        raise UserError(complaints[0].replace(": ", ": does not fit ", 1))
    raise UserError(f"{path}: fits none of {', '.join(nets)}; name its --model, or a --factory that builds it")


def _with_batch_counters(net: nn.Module, state: State) -> State:
    """Add the batch counters of batch norms that old checkpoints lack; no number depends on them."""
    own = net.state_dict()
    counters = {key: own[key] for key in own if key.endswith("num_batches_tracked") and key not in state}
    return {**state, **counters}


def _split_normalisation(net: nn.Module, state: State) -> tuple[Normalisation | None, State]:
    """Return the input normalisation that a checkpoint holds beside the network's tensors, and the other tensors."""
    extra = [key for key in state if key not in net.state_dict()]
    found = {what: [key for key in extra if pattern.search(key)] for what, pattern in STATISTICS.items()}
    odd = any(state[key].is_meta or state[key].layout != torch.strided for key in extra)
    if odd or len(extra) != 2 or any(len(keys) != 1 for keys in found.values()):
        return None, state
    values = {what: [round(float(v), 6) for v in state[keys[0]].flatten()] for what, keys in found.items()}
    return Normalisation(**values), {key: t for key, t in state.items() if key not in extra}
