"""Read the steps of a dvc.yaml without DVC, order them, and select those that are still needed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cure.settings import matrix

ROOT = Path(__file__).parents[1]
WANTED = ("results", "curves", "provenance")  # folders that the report reads
ENDS = ("report", "show")  # stages at the end of the pipeline


class Step(NamedTuple):
    """One stage of one run; paths are relative to the pipeline folder."""

    cmd: list[str]
    deps: list[str]
    outs: list[str]
    params: tuple[str, ...] = ()  # dotted keys of params.yaml

    @property
    def script(self) -> str:
        """Return the stage, such as update."""
        return Path(self.cmd[1]).stem

    @property
    def name(self) -> str:
        """Return the stage and its arguments, such as update folder resnet18 at 0."""
        return " ".join([self.script, *self.cmd[2:]])

    def rank(self, methods: Sequence[str]) -> int:
        """Return the index of the step's method in `methods`, or their number if it is not among them."""
        return next((i for i, method in enumerate(methods) if method in self.cmd[2:]), len(methods))


def steps(pipeline: dict[str, Any], params: dict[str, Any], first: Sequence[str] = ()) -> list[Step]:
    """Return every step except `report` and `show`, each right before the first step that needs it.

    A run is trained, revised and attacked before the next one begins. The methods of `first` precede the others, and
    corruptions come last. Dependencies in code/ are left out: DVC finds stale results by them, but here an existing
    output counts as done.
    """
    names, found = params | {"root": str(ROOT)}, list[Step]()
    for name, (cmd, deps, outs, asked) in matrix.stages(pipeline, names, ("cmd", "deps", "outs", "params")):
        if name not in ENDS:
            files = [dep for dep in deps if not dep.startswith("code/")]
            found.append(Step([sys.executable, *cmd.split()[1:]], files, outs, tuple(asked)))
    maker = {out: step for step in found for out in step.outs}
    ordered: dict[str, Step] = {}

    def visit(step: Step) -> None:
        for dep in step.deps:
            if dep in maker:
                visit(maker[dep])
        ordered.setdefault(step.name, step)

    needed = {dep for step in found for dep in step.deps}
    ends = [step for step in found if not needed & set(step.outs)]
    for step in sorted(ends, key=lambda step: (step.script == "corrupt", step.rank(first))):
        visit(step)
    return list(ordered.values())


def pending(ordered: list[Step], folder: Path) -> list[Step]:
    """Return the steps with an absent output that the report or another pending step needs."""
    found, needed = list[Step](), set[str]()
    for step in reversed(ordered):
        absent = [out for out in step.outs if not (folder / out).exists()]
        if any(out in needed or out.split("/")[0] in WANTED for out in absent):
            found.insert(0, step)
            needed |= set(step.deps)
    return found
