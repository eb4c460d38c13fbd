"""Where a line of the report belongs: its setting, method and seed."""

from typing import Any, Protocol, runtime_checkable

from cure.storage.paths import Cell


@runtime_checkable
class Placed(Protocol):
    """A cell of ours or a published claim."""

    @property
    def dataset(self) -> str:
        """An entry of cure/datasets."""

    @property
    def model(self) -> str:
        """An entry of cure/models."""


def setting(placed: Placed) -> str:
    """digits/small."""
    return f"{placed.dataset}/{placed.model}"


def place(cell: Cell) -> dict[str, Any]:
    """The first columns of every table of cells."""
    return {"setting": setting(cell), "method": cell.method, "seed": cell.seed}
