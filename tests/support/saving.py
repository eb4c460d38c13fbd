"""A run that saves every epoch. Imports nothing else of cure, since resume files carry digests of the loaded code."""

from collections.abc import Callable
from typing import Any

from cure.storage.resume import Saver


def every_epoch(setattr: Callable[[Any, str, Any], object]) -> None:
    """Save every epoch, however long it takes, so that a run ends where a test stops it."""
    save = Saver.save
    setattr(Saver, "save", lambda saver, state, parts, last: save(saver, state, parts, last=True))
