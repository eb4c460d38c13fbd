"""Dask's scheduler and worker without the web page that each would serve to everybody; how they close."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import distributed
from distributed import SchedulerPlugin

CLOSE_SECONDS = 25  # more than the keeper's grace, less than SLURM's 30 between SIGTERM and SIGKILL


class _WithoutPage:
    """Dask opens the port of its page even where the dashboard is off."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """Open no port."""


class Scheduler(_WithoutPage, distributed.Scheduler):
    """A scheduler that answers nobody but those who hold its certificate."""


class Worker(_WithoutPage, distributed.Worker):
    """A worker that answers nobody but those who hold its certificate, and that ends in order at SIGTERM.

    Without a nanny, Dask's worker leaves at SIGTERM without closing itself, which hangs now and then.
    """

    _end: asyncio.Task[str | None] | None = None

    async def start_unsafe(self) -> Self:
        """Start, and from now on take SIGTERM as the end of the job: let go of the stage and wait for its keeper."""
        await super().start_unsafe()  # type: ignore[no-untyped-call]
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._told_to_end)
        return self

    def _told_to_end(self) -> None:
        self._end = asyncio.create_task(self.close(timeout=CLOSE_SECONDS, reason="SIGTERM"))


class Arrivals(SchedulerPlugin):
    """The names of all workers that ever came, also of those that were gone before anybody looked."""

    def __init__(self) -> None:
        self.names = set[str]()

    def add_worker(self, scheduler: distributed.Scheduler, worker: str) -> None:
        """Record a worker that has just been registered."""
        self.names.add(str(scheduler.workers[worker].name))


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
