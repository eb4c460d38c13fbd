"""Find the images' mean and standard deviation that an external file holds beside its network."""

import re

import torch

from cure.core.network import Normalisation
from cure.errors import UserError
from cure.storage.checkpoint import State

STATISTICS = {"mean": re.compile(r"(^|[._])(mu|mean)$"), "std": re.compile(r"(^|[._])(sigma|std)$")}
OF_BATCHES = re.compile(r"(^|[._])running_(mean|std)$")  # statistics of batch norms


def input_statistics(beside: State, prefix: str, channels: int) -> tuple[Normalisation | None, list[str]]:
    """Find the normalisation of a network's input.

    Args:
        beside: the tensors of a state dict that belong to no network.
        prefix: prefix of the network's names. Of several pairs, the nearest to it count, since a student's and a
            teacher's may differ.
        channels: of the images; a pair has one value for each, or one for all.

    Returns:
        The normalisation, None where there is none; and the names that hold it.

    Raises:
        UserError: two equally near pairs differ.
    """
    pairs = _pairs(beside, channels)
    nearest = max((_shared(owner, prefix) for owner in pairs), default=0)
    near = {owner: pair for owner, pair in pairs.items() if _shared(owner, prefix) == nearest}
    found = {owner: normalisation for owner, (normalisation, _) in near.items()}
    if not found:
        return None, []
    first, *others = found.values()
    if any(other != first for other in others):
        told = ", ".join(key for _, keys in near.values() for key in keys)
        raise UserError(f"holds normalisations that differ ({told}); save the network's state_dict() alone")
    return first, [key for _, keys in near.values() for key in keys]


def _pairs(beside: State, channels: int) -> dict[str, tuple[Normalisation, list[str]]]:
    """Return pairs of mean and standard deviation by the prefix of both."""
    halves: dict[str, dict[str, str]] = {}
    for key, tensor in beside.items():
        for what, pattern in STATISTICS.items():
            plain = not tensor.is_meta and tensor.layout == torch.strided and tensor.is_floating_point()
            if plain and tensor.numel() in (1, channels) and pattern.search(key) and not OF_BATCHES.search(key):
                halves.setdefault(key.rpartition(".")[0], {})[what] = key
    found = {}
    for owner, keys in halves.items():
        values = {what: [round(float(v), 6) for v in beside[key].flatten()] for what, key in keys.items()}
        try:
            found[owner] = Normalisation(**values), list(keys.values())
        except (TypeError, ValueError):  # half a pair, or numbers that are not a normalisation
            continue
    return found


def _shared(owner: str, prefix: str) -> int:
    """Return how many leading levels two names share."""
    levels = 0
    for one, other in zip(owner.split("."), prefix.split("."), strict=False):
        if one != other:
            break
        levels += 1
    return levels
