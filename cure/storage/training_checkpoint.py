"""The file of several networks that a training leaves."""

from collections.abc import Callable
from pathlib import Path

import torch

from cure.core.network import Network
from cure.errors import UserError
from cure.storage import paths
from cure.storage.checkpoint import Description, State, described_network, fill, load, refuse_misfits
from cure.storage.paths import Run


def networks(
    about: Description, states: dict[str, State], path: Path, prepare: Callable[[Network], None] | None = None
) -> dict[str, Network]:
    """The networks of the described model in a file, without its snapshots (SHARE/NETWORK), predictors and the like.

    `prepare` is what the method's training adds to a network (Method.prepare).
    """
    found, complaint = {}, f"{path}: weights do not fit {about.model}"
    for name, state in states.items():
        if "/" in name:
            continue
        with torch.device("meta"):  # without memory, of which a damaged description may ask for terabytes
            own = described_network(about, path, prepare).state_dict()
        if name in ("", "last", "best") or set(state) == set(own):
            refuse_misfits(own, state, complaint)
            fill(net := described_network(about, path, prepare), state, complaint)
            found[name] = net.eval()
    if not found:
        raise UserError(f"{path}: holds no network that can be evaluated, but {', '.join(sorted(states)) or 'nothing'}")
    return found


def load_training_checkpoint(run: Run, digest: str) -> tuple[Description, dict[str, State]]:
    """The run's own trajectory, trained on the data of this digest."""
    path = run.training_checkpoint
    about, states = load(path)
    for what, found, wanted in (("content", about.kind, "trajectory"), ("method", about.method, run.method)):
        if found != wanted:
            raise UserError(f"{path}: its {what} is {found}, but {run.name} needs {wanted}")
    if digest != about.data_digest:
        raise UserError(f"{paths.data(run.dataset)}: not the file that {path} was trained with (its sha256 differs)")
    return about, states
