"""Networks from anybody's checkpoint: state dicts in every usual wrapping, TorchScript, torch.export, or a factory.

Weights only: a file is read by safetensors or by torch.load(weights_only=True); pickled code is refused, never run.
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cure import catalogue
from cure.core.network import Normalisation, Normalise
from cure.errors import UserError, first_sentence
from cure.settings import problems
from cure.storage.checkpoint import State, build, fill
from cure.storage.exported_program import saved_program

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "sub_block1.", "1.")
STATISTICS = {"mean": re.compile(r"(^|[._])(mu|mean)$"), "std": re.compile(r"(^|[._])(sigma|std)$")}


@dataclass
class ExternalNetwork:
    """A network on [0, 1] images and what had to be assumed to get it."""

    net: nn.Module
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Shape:
    """What the data set asks of a network: image channels and classes."""

    channels: int
    classes: int


def network(
    path: Path | None,
    shape: Shape,
    *,
    model: str | None,
    factory: str | None,
    settings: Mapping[str, dict[str, Any]],
    normalisation: Normalisation | None,
    device: torch.device,
) -> ExternalNetwork:
    """The network in `path`, of the catalogue's `model` or built by `factory` (pkg.mod:fn), in eval mode on `device`.

    `settings` are the catalogue models' own. A state dict that fits exactly one of them needs neither.
    """
    if path is not None and not path.exists():
        raise UserError(f"{path}: not found")
    if path is not None and (program := saved_program(path, device)) is not None:
        found = ExternalNetwork(program)
    else:
        found = _from_state(path, shape, model, factory, settings)
    if normalisation is not None:
        if len(normalisation.mean) != shape.channels or len(normalisation.std) != shape.channels:
            raise UserError(f"--mean and --std need one value for each of the {shape.channels} channels")
        if any(isinstance(module, Normalise) for module in found.net.modules()):
            raise UserError(f"{path}: brings a normalisation of its own, so leave --mean and --std out")
        if twice := [name for name, _ in found.net.named_buffers() if name.rpartition(".")[2] in ("mean", "mu")]:
            found.notes.append(f"--mean and --std come before the network's own {twice[0]}: is it normalised twice?")
        found.net = nn.Sequential(Normalise(normalisation), found.net)
    found.net.to(device).requires_grad_(False)
    found.net.train(False)
    return found


def _from_state(
    path: Path | None, shape: Shape, model: str | None, factory: str | None, settings: Mapping[str, dict[str, Any]]
) -> ExternalNetwork:
    if path is None:
        if factory is None:
            raise UserError(
                "nothing to evaluate: name a checkpoint, or a --factory that returns a network with weights"
            )
        return ExternalNetwork(made_by(factory))
    states = dict(candidates(tensors(path)))
    if not states:
        raise UserError(f"{path}: holds no state dict (no mapping from names to tensors)")
    if factory is not None:
        return fitted(path, {factory: made_by(factory)}, states)
    names = [model] if model else [name for name in catalogue.names("models") if name in settings]
    for name in names:
        _settled(name, settings.get(name, {}))
    nets = {name: build(name, settings.get(name, {}), shape.channels, shape.classes) for name in names}
    return fitted(path, dict(nets), states)


def _settled(model: str, settings: Any) -> None:
    problems.fill(catalogue.hyper("models", model), settings or {}, f"models.{model}", told := problems.Problems())
    if told:
        raise UserError(f"--model {model}: {'; '.join(told)}; name a params.yaml that has its settings by --params")


def made_by(factory: str) -> nn.Module:
    """The module that `pkg.mod:fn` returns; fn takes no argument and is the user's own code."""
    module, _, name = factory.partition(":")
    try:
        net = getattr(importlib.import_module(module), name)()
    except Exception as problem:  # the user's own code may fail in any way
        raise UserError(f"--factory {factory}: {problem}; it must be package.module:function of no arguments") from None
    if not isinstance(net, nn.Module):
        raise UserError(f"--factory {factory}: returned a {type(net).__name__}, not a torch.nn.Module")
    return net


def tensors(path: Path) -> Any:
    """What a checkpoint holds, tensors and plain containers only."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch.load and safetensors fail in a dozen ways on foreign bytes
        reason = " ".join(str(problem).split())
        if what := re.search(r"GLOBAL:? ([\w.]+)|Unsupported (?:global|class)", reason):
            named = f" ({what.group(1)})" if what.group(1) else ""
            raise UserError(
                f"{path}: holds pickled code{named}, which is never run; save the network's state_dict() alone"
            ) from None
        raise UserError(f"{path}: not a readable checkpoint ({first_sentence(problem)})") from None


def candidates(held: Any, name: str = "", around: tuple[int, ...] = ()) -> Iterator[tuple[str, State]]:
    """Every mapping from names to tensors inside, by its place (state_dict, model.ema, ...); optimisers left out."""
    if isinstance(held, nn.Module) or not isinstance(held, Mapping) or id(held) in around:  # it may hold itself
        return
    plain = {key: value for key, value in held.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if plain and len(plain) >= len(held) / 2:
        yield name, plain
        return
    for key, value in held.items():
        if isinstance(key, str) and not key.startswith("optim"):
            yield from candidates(value, f"{name}.{key}" if name else key, (*around, id(held)))


def stripped(state: State) -> State:
    """Without the prefixes that DataParallel, torch.compile and wrapping classes leave, as often as they stand.

    What a wrapper holds beside the network, the mean and standard deviation of its images, need not share them.
    """
    while True:
        inner = [key for key in state if not any(pattern.search(key) for pattern in STATISTICS.values())]
        shared = [prefix for prefix in PREFIXES if inner and all(key.startswith(prefix) for key in inner)]
        if not shared:
            return state
        state = {key.removeprefix(shared[0]): tensor for key, tensor in state.items()}


def fitted(path: Path, nets: dict[str, nn.Module], states: dict[str, State]) -> ExternalNetwork:
    """The first state dict that fits a network, and the network with it; otherwise what is wrong with the first."""
    complaints = []
    for place, raw in states.items():
        for name, net in nets.items():
            notes, state = [], stripped(raw)
            normalisation, state = _statistics(net, state)
            if normalisation is not None:
                notes.append(f"normalisation of the checkpoint: mean {normalisation.mean}, std {normalisation.std}")
            state = _completed(net, state)
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


def _completed(net: nn.Module, state: State) -> State:
    """With the batch counters of batch norms that old checkpoints lack; no number depends on them."""
    own = net.state_dict()
    counters = {key: own[key] for key in own if key.endswith("num_batches_tracked") and key not in state}
    return {**state, **counters}


def _statistics(net: nn.Module, state: State) -> tuple[Normalisation | None, State]:
    """(the input normalisation that a checkpoint carries beside the network's own tensors, the rest)."""
    extra = [key for key in state if key not in net.state_dict()]
    found = {what: [key for key in extra if pattern.search(key)] for what, pattern in STATISTICS.items()}
    odd = any(state[key].is_meta or state[key].layout != torch.strided for key in extra)
    if odd or len(extra) != 2 or any(len(keys) != 1 for keys in found.values()):
        return None, state
    values = {what: [round(float(v), 6) for v in state[keys[0]].flatten()] for what, keys in found.items()}
    return Normalisation(**values), {key: t for key, t in state.items() if key not in extra}
