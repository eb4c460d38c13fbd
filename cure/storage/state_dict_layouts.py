"""Find a network among the tensors of an external file, at any place and under any prefix.

A network is found by the names of its own tensors, whatever their prefix. So no list of wrappers (DataParallel,
torch.compile, AveragedModel, Lightning, ...) has to follow the libraries that write them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cure.core.network import Normalisation
from cure.storage.checkpoint import State, misfits
from cure.storage.input_statistics import input_statistics


@dataclass(frozen=True)
class Candidate:
    """Tensors of a file that fit a network."""

    place: str  # place of the state dict in the file: state_dict, model.ema, ...; '' for the file itself
    prefix: str  # prefix of the network's names there: 'module.', 'student.', ...
    state: State
    normalisation: Normalisation | None  # of the images; the file holds it beside the network
    left_out: list[str]  # names of the state dict that belong to no network that fits
    kinds: set[str]  # precisions of its weights in the file, other than float32


def state_dicts(held: Any, name: str = "", around: tuple[int, ...] = ()) -> Iterator[tuple[str, State]]:
    """Yield every mapping from names to tensors with its place (state_dict, model.ema, ...); skip optimisers."""
    if isinstance(held, nn.Module) or not isinstance(held, Mapping) or id(held) in around:  # it may contain itself
        return
    plain = {key: value for key, value in held.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if plain and len(plain) >= len(held) / 2:
        yield name, plain
        return
    for key, value in held.items():
        if isinstance(key, str) and not key.startswith("optim"):
            yield from state_dicts(value, f"{name}.{key}" if name else key, (*around, id(held)))


def candidates(place: str, raw: State, own: State, channels: int) -> list[Candidate]:
    """Return every part of a state dict that has all the tensors of a network and no others.

    Args:
        place: the place of the state dict in its file.
        raw: the state dict.
        own: the state dict of the network, for names and shapes.
        channels: of the images, to recognise their mean and standard deviation.
    """
    parts = {prefix: _taken(prefix, raw, own) for prefix in _prefixes(raw, own)}
    fit = {prefix: taken for prefix, taken in parts.items() if not misfits(own, _named(taken, raw, own))}
    claimed = {key for taken in fit.values() for key in taken.values()}
    rest = {key: tensor for key, tensor in raw.items() if key not in claimed}
    found = []
    for prefix, taken in fit.items():
        normalisation, used = input_statistics(rest, prefix, channels)
        left_out = [key for key in rest if key not in used]
        if not any(key.startswith(prefix) for key in left_out):  # else it is a larger network that contains this one
            weights = [raw[key] for key in taken.values() if raw[key].is_floating_point()]
            kinds = {str(weight.dtype).removeprefix("torch.") for weight in weights} - {"float32"}
            found.append(Candidate(place, prefix, _named(taken, raw, own), normalisation, left_out, kinds))
    return found


def nearest_miss(raw: State, own: State) -> State:
    """Return the part of a state dict that shares most names with a network, under the network's names."""
    prefix = next(iter(_prefixes(raw, own)), "")
    return _named({key.removeprefix(prefix): key for key in raw if key.startswith(prefix)}, raw, own)


def same_tensors(first: State, second: State) -> bool:
    """Return whether two state dicts with the same names hold the same values."""
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def _prefixes(raw: State, own: State) -> list[str]:
    """Return the prefixes under which names of the network occur, most frequent first."""
    counts = Counter[str]()
    for key in raw:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in own:
                counts["".join(f"{part}." for part in parts[:cut])] += 1
    return [prefix for prefix, _ in counts.most_common()]


def _taken(prefix: str, raw: State, own: State) -> dict[str, str]:
    """Map each name of the network under `prefix` to its key in the state dict.

    A head may be stored beside its encoder (encoder.conv1, fc). So tensors missing under the prefix are taken from the
    level above, unless that level has names of the prefix too: then it is another network.
    """
    taken = {name: prefix + name for name in own if prefix + name in raw}
    above = prefix[: prefix.rstrip(".").rfind(".") + 1]
    if prefix and not any(above + name in raw for name in taken):
        taken |= {name: above + name for name in own if name not in taken and above + name in raw}
    return taken


def _named(taken: dict[str, str], raw: State, own: State) -> State:
    """Return tensors under the network's names, weights in float32, and the network's own batch counters.

    No result depends on a counter; old files lack them, and files in half precision round them.
    """
    counters = {name: tensor for name, tensor in own.items() if name.rpartition(".")[2] == "num_batches_tracked"}
    weights = {name: raw[key].float() if raw[key].is_floating_point() else raw[key] for name, key in taken.items()}
    return weights | counters
