"""cure: adversarial training methods in one engine, and an evaluation for any network."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cure.evaluation.standalone.api import evaluate as evaluate


def __getattr__(name: str) -> Any:
    """`from cure import evaluate`, without importing PyTorch for everything else."""
    if name == "evaluate":
        from cure.evaluation.standalone.api import evaluate

        return evaluate
    raise AttributeError(f"module 'cure' has no attribute {name!r}")
