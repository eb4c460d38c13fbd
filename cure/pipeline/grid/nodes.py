"""Define Dask's scheduler and worker without their public web pages, and with an orderly end."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import distributed
from distributed import SchedulerPlugin

CLOSE_SECONDS = 25  # longer than the keeper's grace, shorter than SLURM's 30 s between SIGTERM and SIGKILL


class _WithoutPage:
    """Dask opens the port of its web page even if the dashboard is off."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """Open no port."""


class Scheduler(_WithoutPage, distributed.Scheduler):
    """A scheduler that accepts only connections with its certificate."""


class Worker(_WithoutPage, distributed.Worker):
    """A worker that accepts only connections with its certificate, and that closes at SIGTERM.

    Without a nanny, Dask's worker exits at SIGTERM without closing itself, which sometimes hangs.
    """

    _end: asyncio.Task[str | None] | None = None

    async def start_unsafe(self) -> Self:
        """Start, and from then on treat SIGTERM as the end of the job: release the stage and wait for its keeper."""
        await super().start_unsafe()  # type: ignore[no-untyped-call]
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._told_to_end)
        return self

    def _told_to_end(self) -> None:
        self._end = asyncio.create_task(self.close(timeout=CLOSE_SECONDS, reason="SIGTERM"))


class Arrivals(SchedulerPlugin):
    """The names of all workers that ever connected, including those that left before anyone checked."""

    def __init__(self) -> None:
        self.names = set[str]()

    def add_worker(self, scheduler: distributed.Scheduler, worker: str) -> None:
        """Record a worker that has just been registered."""
        self.names.add(str(scheduler.workers[worker].name))


@contextmanager
def closing(resource: Any) -> Iterator[Any]:
    """Close the resource at the end of the block. An error then is only printed, since it undoes no finished stage."""
    try:
        yield resource
    finally:
        try:
            resource.close()
        except Exception as problem:  # Dask closes with assertions of its own
            print(f"warning: Dask did not close cleanly: {problem!r}", file=sys.stderr)
