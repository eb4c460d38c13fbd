"""Where a line of the report belongs: its setting, method and seed."""

from typing import Any, Protocol, runtime_checkable

from cure.storage.paths import Run


@runtime_checkable
class Placed(Protocol):
    """A run of ours or a published claim."""

    @property
    def dataset(self) -> str:
        """An entry of cure/datasets."""

    @property
    def model(self) -> str:
        """An entry of cure/models."""


def setting(placed: Placed) -> str:
    """digits/small."""
    return f"{placed.dataset}/{placed.model}"


def place(run: Run) -> dict[str, Any]:
    """The first columns of every table of runs."""
    return {"setting": setting(run), "method": run.method, "seed": run.seed}
