"""Read training checkpoints, the files of several networks that a training writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cure.core.method import Method
from cure.core.network import Network
from cure.errors import UserError
from cure.settings.params import Params, update_key
from cure.storage import paths
from cure.storage.checkpoint import Description, State, described_network, fill, load, refuse_misfits
from cure.storage.paths import Run


def networks(
    about: Description, states: dict[str, State], path: Path, method: Method | None = None
) -> dict[str, Network]:
    """Build the networks of the described model in a file; skip snapshots (SHARE/NETWORK), predictors and the like.

    For a training checkpoint, `method` is the one that trained it; its `prepare` is applied to each network.
    """
    found, complaint = {}, f"{path}: weights do not fit {about.model}"
    prepare = _prepare(about, path, method) if method is not None else None
    for name, state in states.items():
        if "/" in name:
            continue
        with torch.device("meta"):  # allocates nothing, since a damaged description may ask for terabytes
            own = described_network(about, path, prepare).state_dict()
        if name in ("", "last", "best") or set(state) == set(own):
            refuse_misfits(own, state, complaint)
            fill(net := described_network(about, path, prepare), state, complaint)
            found[name] = net.eval()
    if not found:
        raise UserError(f"{path}: holds no network that can be evaluated, but {', '.join(sorted(states)) or 'nothing'}")
    return found


def training_settings(about: Description, method: Method) -> Any:
    """Return the method's settings during training, as the description records them."""
    recorded, key = Params.recorded(about.params, about.dataset, about.model), update_key(about.method, method)
    return recorded.method(key, method.hyper)[0] if "train" in about.params else recorded.get(key, method.hyper)


def _prepare(about: Description, path: Path, method: Method) -> Callable[[Network], None] | None:
    if (add := method.prepare) is None:
        return None
    try:
        hyper = training_settings(about, method)
    except UserError as problem:
        raise UserError(f"{path}: its settings are of another version, so train it again ({problem})") from None
    return lambda net: add(net, hyper)


def load_training_checkpoint(run: Run, digest: str) -> tuple[Description, dict[str, State]]:
    """Load the run's own training checkpoint; raise UserError unless it was trained on the data with this digest."""
    path = run.training_checkpoint
    about, states = load(path)
    for what, found, wanted in (("content", about.kind, "trajectory"), ("method", about.method, run.method)):
        if found != wanted:
            raise UserError(f"{path}: its {what} is {found}, but {run.name} needs {wanted}; run `dvc repro`")
    if digest != about.data_digest:
        raise UserError(
            f"{paths.data(run.dataset)}: not the file that {path} was trained with (its sha256 differs); run "
            f"`dvc repro`"
        )
    return about, states
