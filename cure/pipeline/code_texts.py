"""Read the texts of code/, by which DVC detects changed code of a stage; see stages/digest.py and code/dvc.yaml."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from cure.errors import UserError


def load_stages(folder: Path) -> list[Any]:
    """Return the stages of a pipeline folder: those of its code/dvc.yaml, then those of its dvc.yaml, in file order."""
    try:
        with Repo(str(folder)) as repo:
            files = (folder / "code" / "dvc.yaml", folder / "dvc.yaml")
            return [stage for path in files for stage in repo.stage.load_all(str(path))]
    except DvcException as problem:
        raise UserError(f"{folder}/dvc.yaml: {problem}; run this in quickstart/ or at the root") from None


def first(stage: Any) -> bool:
    """Return whether DVC runs this stage every time before all others, like the stage `code`."""
    return bool(stage.always_changed and not stage.deps)


def last(stage: Any) -> bool:
    """Return whether DVC runs this stage every time after others, like the stage `show`."""
    return bool(stage.always_changed and stage.deps)


def rewrite(stages: Iterable[Any], folder: Path) -> None:
    """Run the command of the stage `code` in `folder`, a pipeline folder or a copy of one, without DVC."""
    for stage in filter(first, stages):
        done = subprocess.run(
            stage.cmd, shell=True, cwd=folder, env=os.environ | {"PATH": search_path()}, capture_output=True, text=True
        )
        if done.returncode:
            raise UserError(f"{folder}: {stage.cmd}: {done.stderr.strip().removeprefix('error: ')}")


def search_path() -> str:
    """Return PATH with this process' Python first, since the command of a stage is `python ...`."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
