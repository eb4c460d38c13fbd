"""Return the version of this package; its only source is pyproject.toml."""

import tomllib
from importlib import metadata

from cure import catalogue


def version() -> str:
    """Return the version of the installed package, or that in pyproject.toml if this checkout is not installed."""
    try:
        return metadata.version("cure")
    except metadata.PackageNotFoundError:
        text = (catalogue.ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
        found: str = tomllib.loads(text)["project"]["version"]
        return found
