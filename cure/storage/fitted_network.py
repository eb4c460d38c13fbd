"""Select the one network in an external file that fits, or explain which networks there are and why none fits."""

from collections import Counter
from pathlib import Path

from torch import nn

from cure.core.network import Normalise
from cure.errors import UserError, did_you_mean
from cure.storage.checkpoint import State, fill, misfit
from cure.storage.state_dict_layouts import Candidate, candidates, nearest_miss, same_tensors

SHOWN = 3  # names of a file that a message lists
ITSELF = "."  # the --key of a network whose tensors are at the top of a file


def fitted(
    path: Path, nets: dict[str, nn.Module], states: dict[str, State], key: str | None, channels: int
) -> tuple[nn.Module, list[str]]:
    """Load the one network in a file that fits.

    Args:
        path: the file.
        nets: networks by name; the weights must be those of one of them.
        states: the state dicts of the file by place.
        key: selects one of several networks; None where there is only one.
        channels: of the images.

    Returns:
        The network, behind the normalisation that the file holds; and the assumptions made, for the user.

    Raises:
        UserError: nothing in the file fits, or several networks do and `key` selects none of them.
    """
    found = _fits(path, nets, states, channels)
    chosen = [name for name in found if key in (None, name) or name.startswith(f"{key}.")]
    if key is not None and not chosen and key not in states:
        raise UserError(f"{path}: --key {key}: no such network{did_you_mean(key, [*(found or states)])}")
    if not chosen:
        raise UserError(_misfit(path, nets, {key: states[key]} if key is not None else states))
    if len(chosen) > 1:
        told = ", ".join(map(_told, chosen))
        raise UserError(f"{path}: holds {len(chosen)} networks that fit: {told}; name one by --key (Python: key=...)")
    one, model = found[chosen[0]]
    fill(net := nets[model], one.state, f"{path}: {model}")
    used = {fit.place for fit, _ in found.values()}
    others = [name for name in (*found, *(place for place in states if place not in used)) if name != chosen[0]]
    notes = [f"normalisation of the checkpoint: mean {n.mean}, std {n.std}"] if (n := one.normalisation) else []
    notes += [f"weights of {_told(chosen[0])}, not of {', '.join(map(_told, others))}"] if others else []
    notes += [f"left out of the checkpoint: {_some(one.left_out)}"] if one.left_out else []
    notes += [f"network {model}"] if len(nets) > 1 else []
    notes += [f"weights of {' and '.join(sorted(one.kinds))}, evaluated in float32"] if one.kinds else []
    return nn.Sequential(Normalise(one.normalisation), net) if one.normalisation else net, notes


def _fits(
    path: Path, nets: dict[str, nn.Module], states: dict[str, State], channels: int
) -> dict[str, tuple[Candidate, str]]:
    """Return every network in the file by its --key, with the first of `nets` that it fits; equal networks only once.

    The key is the place of its state dict and, if that holds several networks, the prefix of its names.
    """
    found = list[tuple[Candidate, str]]()
    for place, raw in states.items():
        for model, net in nets.items():
            try:
                fits = candidates(place, raw, net.state_dict(), channels)
            except UserError as why:
                raise UserError(f"{path}: {why}") from None
            for one in fits:
                if not any(_same(one, other, alike=model == its) for other, its in found):
                    found.append((one, model))
    counts = Counter(one.place for one, _ in found)
    return {
        ".".join([one.place] * bool(one.place) + [one.prefix.rstrip(".")] * (counts[one.place] > 1)) or ITSELF: (one, m)
        for one, m in found
    }


def _same(one: Candidate, other: Candidate, *, alike: bool) -> bool:
    """Return whether two finds are one network: the same part of the file, or equal tensors of one model (`alike`)."""
    if (one.place, one.prefix) == (other.place, other.prefix):
        return True
    return alike and one.normalisation == other.normalisation and same_tensors(one.state, other.state)


def _misfit(path: Path, nets: dict[str, nn.Module], states: dict[str, State]) -> str:
    """Return why nothing in the file fits, with names from both sides."""
    raw = next(iter(states.values()))
    held = f"the file holds {_some([*raw])}"
    if len(nets) > 1:
        return f"{path}: fits none of {', '.join(nets)}; name its --model, or a --factory that builds it; {held}"
    ((model, net),) = nets.items()
    own = net.state_dict()
    unknown = [key for key in raw if key not in own]
    held = f"the file holds {_some(unknown or [*raw])}"
    return f"{misfit(own, nearest_miss(raw, own), f'{path}: does not fit {model}')}; {held}"


def _some(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _told(name: str) -> str:
    return "the file itself" if name == "" else "the file itself (--key .)" if name == ITSELF else name
