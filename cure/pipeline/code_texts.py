"""The texts of code/, by which DVC tells whether the code of a stage changed; see stages/digest.py."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cure.errors import UserError


def first(stage: Any) -> bool:
    """Return whether DVC runs this stage every time before all others, as it does with the stage `code`."""
    return bool(stage.always_changed and not stage.deps)


def rewrite(stages: Iterable[Any], folder: Path) -> None:
    """Run the command of the stage `code` in `folder`, a pipeline folder or a copy of one, without DVC."""
    for stage in filter(first, stages):
        done = subprocess.run(
            stage.cmd, shell=True, cwd=folder, env=os.environ | {"PATH": search_path()}, capture_output=True, text=True
        )
        if done.returncode:
            raise UserError(f"{folder}: {stage.cmd}: {done.stderr.strip().removeprefix('error: ')}")


def search_path() -> str:
    """Return PATH with this process' Python first, since a stage's command is `python ...`."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
