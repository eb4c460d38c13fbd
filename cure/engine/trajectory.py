"""The file of several networks that a training leaves."""

from cure import paths
from cure.engine.checkpoint import Description, State, load
from cure.errors import Refused
from cure.paths import Cell


def trajectory(cell: Cell, digest: str) -> tuple[Description, dict[str, State]]:
    """The cell's own trajectory, trained on the data of this digest."""
    path = cell.trajectory
    about, states = load(path)
    for what, found, wanted in (("content", about.kind, "trajectory"), ("method", about.method, cell.method)):
        if found != wanted:
            raise Refused(f"{path}: its {what} is {found}, but {cell.name} needs {wanted}")
    if digest != about.data_digest:
        raise Refused(f"{paths.data(cell.dataset)}: not the file that {path} was trained with (its sha256 differs)")
    return about, states
