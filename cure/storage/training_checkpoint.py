"""The file of several networks that a training leaves."""

from collections.abc import Callable
from pathlib import Path

from cure.core.network import Network
from cure.errors import UserError
from cure.storage import paths
from cure.storage.checkpoint import Description, State, build, fill, load
from cure.storage.paths import Run


def networks(
    about: Description, states: dict[str, State], path: Path, prepare: Callable[[Network], None] | None = None
) -> dict[str, Network]:
    """The networks of the described model in a file, without its snapshots (SHARE/NETWORK), predictors and the like.

    `prepare` is what the method's training adds to a network (Method.prepare).
    """
    found = {}
    for name, state in states.items():
        if "/" in name:
            continue
        net = build(about.model, about.settings, about.channels, len(about.classes))
        if prepare is not None:
            prepare(net)
        if name in ("", "last", "best") or set(state) == set(net.state_dict()):
            fill(net, state, f"{path}: weights do not fit {about.model}")
            found[name] = net.eval()
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
