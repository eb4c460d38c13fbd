"""Run a stage that dies at a chosen moment: `python -m tests.support.killer KIND COUNT SIGNAL SCRIPT ARGS...`.

The COUNT-th event of its KIND is deadly:

    call     a function of cure/ is entered
    half     a whole file is written, of which half reaches the disk
    rename   a draft is about to replace a file
    renamed  it has just replaced it

With COUNT 0 nothing dies, and the last line on stderr has the number of events of each kind.
"""

import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path

from tests.support.saving import every_epoch

CURE = os.sep + "cure" + os.sep


def main(kind: str, count: int, how: str, script: str, *words: str) -> None:
    """Watch the stage and kill it."""
    seen = Counter[str]()

    def event(name: str) -> bool:
        seen[name] += 1
        return name == kind and seen[name] == count

    def die() -> None:
        os.kill(os.getpid(), signal.Signals[how])

    def profile(frame, what, argument) -> None:
        if what == "call" and CURE in frame.f_code.co_filename and event("call"):
            die()

    write, replace = Path.write_bytes, Path.replace

    def written(path, data):
        if event("half"):
            write(path, data[: len(data) // 2])
            die()
        return write(path, data)  # by a thread, which outlives Ctrl-C

    def replaced(path, target):
        if event("rename"):
            die()
        moved = replace(path, target)
        if event("renamed"):
            die()
        return moved

    Path.write_bytes, Path.replace = written, replaced
    every_epoch(setattr)
    sys.argv = [script, *words]
    if kind == "call":  # it is slow
        sys.setprofile(profile)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.setprofile(None)
        if not count:
            print(json.dumps(seen), file=sys.stderr)


if __name__ == "__main__":
    kind, count, *rest = sys.argv[1:]
    main(kind, int(count), *rest)
