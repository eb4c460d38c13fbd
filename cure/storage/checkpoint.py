"""Read and write self-describing weight files: safetensors with a JSON description in the header, never pickle."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from cure import catalogue
from cure.core.network import Network
from cure.errors import UserError
from cure.settings import problems
from cure.settings.base import Count, Settings
from cure.storage.files import refuse_special, replacing

State = dict[str, Tensor]


class Description(Settings):
    """Everything needed to build and evaluate the networks in a file. Nothing in it differs between machines."""

    kind: Literal["network", "trajectory"]
    model: str  # an entry of cure/models
    settings: dict[str, Any]  # its section of params.yaml, normalisation included
    channels: Count
    classes: Annotated[list[str], Field(min_length=1)]
    dataset: str
    data_digest: str  # sha256 of the prepared file
    method: str
    seed: int
    params: dict[str, Any]  # the declared keys, as written
    epoch: int  # of the network; in a trajectory, of its last network
    best_epoch: int  # the epoch with the highest validation PGD accuracy
    average_epoch: int = 0  # the same for the weight average; 0 without one
    validation: dict[str, float]  # accuracies in [0, 1] on the validation split


def build(model: str, settings: dict[str, Any], channels: int, classes: int) -> Network:
    """Build a freshly initialised network of cure/models."""
    entry = catalogue.entry("models", model)
    net: Network = entry.MODEL(entry.Hyper.model_validate(settings), channels, classes)
    return net


def save(path: Path, states: dict[str, State], about: Description) -> None:
    """Write state dicts by name ('' for a single one), whole or not at all."""
    tensors = {f"{name}/{key}" if name else key: t for name, state in states.items() for key, t in state.items()}
    # one metadata key, since safetensors writes several in random order and the file's hash must not change
    header = {"cure": json.dumps(about.model_dump(), sort_keys=True)}
    with replacing(path) as draft:
        whole = {key: t.detach().cpu().contiguous() for key, t in tensors.items()}
        draft.write_bytes(to_bytes(whole, metadata=header))  # save_file has its own error for a full disk


def load(path: Path) -> tuple[Description, dict[str, State]]:
    """Return the description and the state dicts by name from a file of this pipeline."""
    if not path.exists():
        raise UserError(f"{path}: not found; `dvc repro` makes it, and `dvc pull` brings it from a remote")
    found = described(opened(path), path)
    if found is None:
        raise UserError(f"{path}: safetensors without a description; not made by this pipeline")
    return found


def opened(path: Path) -> safe_open:
    """Open a safetensors file. The handle reads tensors on request, and closes when nothing refers to it."""
    refuse_special(path)
    with _damage_reported(path):
        return safe_open(path, framework="pt")


def described(file: safe_open, path: Path) -> tuple[Description, dict[str, State]] | None:
    """Return the description and the state dicts by name in an open file; None if it has no description."""
    with _damage_reported(path):
        header = (file.metadata() or {}).get("cure")  # type: ignore[no-untyped-call]
        if header is None:
            return None
        keys = file.keys()  # type: ignore[no-untyped-call]
        tensors = {key: file.get_tensor(key) for key in keys}  # type: ignore[no-untyped-call]
        wrong = list[str]()
        about = problems.fill(Description, json.loads(header), "", wrong)
        if about is None:
            raise ValueError("; ".join(wrong))
    states: dict[str, State] = {}
    for key, tensor in tensors.items():
        name, _, inner = key.rpartition("/")
        states.setdefault(name, {})[inner] = tensor
    return about, states


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    """Turn any error of a truncated or altered file into a UserError."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, RecursionError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise UserError(
            f"{path}: not a whole weight file of this pipeline ({reason}); restore it, or run `dvc repro`"
        ) from None


def network(about: Description, state: State, path: Path) -> Network:
    """Build the described network with these weights, in eval mode; raise UserError for weights of another shape."""
    complaint = f"{path}: weights do not fit {about.model}"
    with torch.device("meta"):  # allocates nothing, since a damaged description may ask for terabytes
        refuse_misfits(described_network(about, path).state_dict(), state, complaint)
    net = described_network(about, path)
    fill(net, state, complaint)
    return net.eval()


def described_network(about: Description, path: Path, prepare: Callable[[Network], None] | None = None) -> Network:
    """Build a network from its description, with fresh weights.

    Args:
        about: the description.
        path: the file that it comes from.
        prepare: the method's changes to its networks (Method.prepare).

    Raises:
        UserError: the network cannot be built.
    """
    try:
        net = build(about.model, about.settings, about.channels, len(about.classes))
        if prepare is not None:
            prepare(net)
    except (UserError, ValueError, TypeError, OverflowError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise UserError(f"{path}: cannot build {about.model} from its description ({reason})") from None
    return net


def fill(net: nn.Module, state: State, complaint: str) -> None:
    """Load `state` into a network; raise UserError with the first tensor that does not fit."""
    refuse_misfits(net.state_dict(), state, complaint)
    with torch.no_grad():
        net.load_state_dict(state)


def refuse_misfits(own: State, state: State, complaint: str) -> None:
    """Raise a UserError if `state` does not fit; see `misfit`."""
    if wrong := misfit(own, state, complaint):
        raise UserError(wrong)


def misfit(own: State, state: State, complaint: str) -> str:
    """Return `complaint`, the first tensor that does not fit and how many more there are; '' if all fit."""
    wrong = misfits(own, state)
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"{complaint}: {wrong[0]}{more}" if wrong else ""


def misfits(own: State, state: State) -> list[str]:
    """List the tensors of `state` that are missing, unknown, or of another shape, type or layout than in `own`."""
    wrong = [f"{key} is missing" for key in own if key not in state]
    wrong += [f"{key} is unknown" for key in state if key not in own]
    wrong += [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    wrong += [
        f"{key} is {state[key].dtype}, not {own[key].dtype}"
        for key in own
        if key in state and own[key].dtype != state[key].dtype
    ]
    wrong += [
        f"{key} is {state[key].layout}, not {own[key].layout}"
        for key in own
        if key in state and own[key].layout != state[key].layout
    ]
    wrong += [f"{key} is a shape without values" for key in own if key in state and state[key].is_meta]
    return wrong
