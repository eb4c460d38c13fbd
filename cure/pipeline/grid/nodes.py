"""Dask's scheduler and worker without the web page that each would serve to everybody; how they close."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import distributed


class _WithoutPage:
    """Dask opens the port of its page even where the dashboard is off."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """Open no port."""


class Scheduler(_WithoutPage, distributed.Scheduler):
    """A scheduler that answers nobody but those who hold its certificate."""


class Worker(_WithoutPage, distributed.Worker):
    """A worker that answers nobody but those who hold its certificate."""


@contextmanager
def closing(resource: Any) -> Iterator[Any]:
    """Close the resource at the end. What goes wrong then is told, but undoes nothing that the stages have done."""
    try:
        yield resource
    finally:
        try:
            resource.close()
        except Exception as problem:  # Dask closes with assertions of its own
            print(f"warning: Dask did not close in order: {problem!r}", file=sys.stderr)
