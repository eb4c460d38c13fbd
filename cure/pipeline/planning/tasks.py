"""Read the tasks of a pipeline: the stages of its dvc.yaml, each of one run, and whether dvc.lock has them."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cure.errors import UserError, did_you_mean
from cure.pipeline import code_texts
from cure.storage.paths import Run

KINDS = ("pretrain", "update", "revise", "attack", "corrupt", "analyse", "layers")
"""The stages that are estimated; prepare and report take minutes at most."""


@dataclass(frozen=True)
class Task:
    """One stage of one run. `group` is the block sets of the layer-wise study, where the set is part of the run."""

    name: str
    kind: str
    run: Run
    group: str = ""
    done: bool = False


def tasks(folder: Path, names: list[str]) -> list[Task]:
    """Return the tasks of the named stages or runs, by default all, in the order of dvc.yaml.

    A stage is done if its command, its inputs and its outputs are those of dvc.lock, and so are those of every stage
    that it builds on.
    """
    stages = code_texts.load_stages(folder)
    if (folder / "dvc.lock").exists():
        code_texts.rewrite(stages, folder)
    done = _done(stages)
    found = [task for stage in stages if (task := _task(stage, stage.name in done)) is not None]
    known = {name for task in found for name in (task.name, task.run.name)}
    for name in names:
        if name not in known:
            raise UserError(f"plan: no stage and no run {name!r}{did_you_mean(name, sorted(known))}")
    return [task for task in found if not names or {task.name, task.run.name} & set(names)]


def _done(stages: list[Any]) -> set[str]:
    """Return the names of the stages that `dvc repro` would skip."""
    maker = {out.fs_path: stage.name for stage in stages for out in stage.outs}
    same = {
        stage.name: not stage.cmd_changed and not any(part.status() for part in (*stage.deps, *stage.outs))
        for stage in stages
    }
    needs = {stage.name: {maker[dep.fs_path] for dep in stage.deps if dep.fs_path in maker} for stage in stages}
    while changed := [name for name, fresh in same.items() if fresh and not all(same[need] for need in needs[name])]:
        same |= dict.fromkeys(changed, False)
    return {name for name, fresh in same.items() if fresh}


def _task(stage: Any, done: bool) -> Task | None:
    """Parse python stages/KIND.py DATASET MODEL ... SEED; None for other stages."""
    _, script, *arguments = shlex.split(stage.cmd)
    kind = Path(script).stem
    if kind not in KINDS:
        return None
    dataset, model, *middle, seed = arguments
    natural = Run(dataset, model, "natural", int(seed))
    if kind == "layers":
        return Task(stage.name, kind, natural.layers(*middle), middle[1], done)
    return Task(stage.name, kind, natural.of(*middle) if middle else natural, "", done)
