"""Give each worker whole files of tests, and go on to the end when a worker dies."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

FEW = 2  # tests that a worker must know of: it begins one only when it knows what follows


class WholeFiles(LoadFileScheduling):
    """Files begin in their order. When a worker dies, all that it has left is run.

    xdist's own gives the finished files of a dead worker out again, and waits for them for ever.
    See https://github.com/pytest-dev/pytest-xdist/issues/1378 and, for the one test that a new worker never begins,
    https://github.com/pytest-dev/pytest-xdist/issues/1327. The two methods can go when a release
    has mended both.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def remove_node(self, node: WorkerController) -> str | None:
        """Hand out what a worker has left; return the test that it died in, which counts as run, or None."""
        files = self.assigned_work.pop(node)
        crashed = next((test for tests in files.values() for test, done in tests.items() if not done), None)
        if crashed:
            files[self._split_scope(crashed)][crashed] = True
        self.workqueue.update({file: tests for file, tests in files.items() if not all(tests.values())})
        for other in self.assigned_work:
            self._reschedule(other)
        return crashed

    def _reschedule(self, node: WorkerController) -> None:
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) <= FEW:
            if self.workqueue:
                self._assign_work_unit(node)
            else:
                node.shutdown()
