"""Look up catalogue entries by name: one file in a plural folder is one entry, and no list has to be kept in step."""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cure.errors import UserError, did_you_mean

ROOT = Path(__file__).parent


@cache
def names(folder: str) -> list[str]:
    """Return the sorted entry names of a catalogue.

    Args:
        folder: a catalogue, which is a folder under cure/: `methods`, `attacks`, `models`, ...

    Returns:
        The file names without suffix; names that begin with _ are not entries.

    Example:
        >>> names("models")
        ['preact_resnet18', 'resnet101', 'resnet18', 'resnet34', 'resnet50', 'small', 'small_resnet', 'wrn_34_10']
    """
    return sorted(path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("_"))


def entry(folder: str, name: str) -> ModuleType:
    """Import the module of one catalogue entry.

    Args:
        folder: a catalogue, which is a folder under cure/.
        name: an entry of it, as in `names`.

    Returns:
        The module, which defines what CONTRIBUTING.md asks of the entries of this catalogue.

    Raises:
        UserError: the catalogue has no entry of this name.
    """
    if name not in names(folder):
        raise UserError(f"{folder}: no entry {name!r}{did_you_mean(name, names(folder))}")
    return importlib.import_module(f"cure.{folder}.{name}")


def hyper(folder: str, name: str) -> Any:
    """Return the settings class `Hyper` of an entry, which checks the entry's section of params.yaml.

    Args:
        folder: a catalogue, which is a folder under cure/.
        name: an entry of it, as in `names`.

    Raises:
        UserError: the catalogue has no entry of this name.
    """
    return entry(folder, name).Hyper
