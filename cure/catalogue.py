"""Name -> entry: a file in a plural folder is an entry, its name is its key. There is no list to keep in step."""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cure.errors import UserError, did_you_mean

ROOT = Path(__file__).parent


@cache
def names(folder: str) -> list[str]:
    """The entries of a catalogue such as `methods`."""
    return sorted(path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("_"))


def entry(folder: str, name: str) -> ModuleType:
    """The module of one entry; refuses unknown names."""
    if name not in names(folder):
        raise UserError(f"{folder}: no entry {name!r}{did_you_mean(name, names(folder))}")
    return importlib.import_module(f"cure.{folder}.{name}")


def hyper(folder: str, name: str) -> Any:
    """The settings class that an entry's section in params.yaml is read into."""
    return entry(folder, name).Hyper
