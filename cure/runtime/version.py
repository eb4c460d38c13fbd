"""The version of this package, which is written down in pyproject.toml alone."""

import tomllib
from importlib import metadata

from cure import catalogue


def version() -> str:
    """Return the version of the installed package; of a checkout that is not installed, that in its pyproject.toml."""
    try:
        return metadata.version("cure")
    except metadata.PackageNotFoundError:
        text = (catalogue.ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
        found: str = tomllib.loads(text)["project"]["version"]
        return found
