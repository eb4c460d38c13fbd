"""cure trains with methods of adversarial training, takes their steps into other loops and evaluates any network."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cure.evaluation.standalone.api import evaluate as evaluate
    from cure.training.own_loop import training_step as training_step

    __version__: str

__all__ = ["__version__", "evaluate", "training_step"]


def __getattr__(name: str) -> Any:
    """Import `evaluate`, `training_step` or `__version__` on first use, so that `import cure` does not load PyTorch."""
    if name == "evaluate":
        from cure.evaluation.standalone.api import evaluate

        return evaluate
    if name == "training_step":
        from cure.training.own_loop import training_step

        return training_step
    if name == "__version__":
        from cure.runtime.version import version

        return version()
    raise AttributeError(f"module 'cure' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING"})
