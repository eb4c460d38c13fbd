"""Read the stages of a pipeline folder and their order from DVC; leave dvc.lock as a serial `dvc repro` does."""

import contextlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.utils.serialize import dumps_yaml, load_yaml, parse_yaml_for_update

from cure.errors import UserError
from cure.pipeline import code_texts
from cure.pipeline.grid import rwlock
from cure.pipeline.grid.work import log
from cure.storage.files import write_text


@dataclass(frozen=True)
class Dag:
    """The stages of a pipeline folder's dvc.yaml, and the stages that each one needs."""

    folder: Path
    needs: dict[str, list[str]]  # stage -> stages that it depends on; in the order of a serial `dvc repro`
    dependents: dict[str, int]  # stage -> number of stages that depend on it, directly or not
    done: frozenset[str]  # stages that are up to date, together with all stages that they need
    without_gpu: frozenset[str]  # stages whose `meta` in dvc.yaml has gpu: false
    shows: list[str]  # stages that print the results, after all others
    logs: Path  # of this folder's stages, in .dvc/tmp, which git ignores

    def log(self, stage: str) -> Path:
        """Return the file of a stage's output."""
        return log(self.logs, stage)

    def progress(self, stage: str) -> Path:
        """Return the file of a stage's progress: a line of JSON for each attempt of a worker and each step."""
        return self.log(stage).with_suffix(".progress")


def read(folder: Path) -> Dag:
    """Run the stage `code`, and read the stages of `folder`/dvc.yaml."""
    if not (folder / "dvc.yaml").exists():
        raise UserError(f"{folder / 'dvc.yaml'}: not found; name a pipeline folder, such as quickstart")
    try:
        (logs := logs_of(folder)).mkdir(parents=True, exist_ok=True)
        rwlock.strangers(folder.resolve(), partial(log, logs))  # repairs what killed stages left
        with contextlib.chdir(folder), Repo(_wait_for_lock=True) as repo:
            code = [stage.addressing for stage in repo.index.stages if code_texts.first(stage)]
            for stage in code:  # now, since its texts decide which stages are stale
                repo.reproduce(stage, single_item=True)
            graph = get_active_graph(repo.index.graph)
            steps = plan_repro(graph, collect_stages(repo, ["dvc.yaml"]))
            shows = [stage for stage in steps if code_texts.last(stage)]
            steps = [stage for stage in steps if stage not in shows]
            changed = repo.status(targets=["dvc.yaml"]).keys() - set(code)
            # inside the block, since DVC names stages relative to the working folder
            needs = {stage.addressing: [need.addressing for need in graph.successors(stage)] for stage in steps}
            without_gpu = {stage.addressing for stage in steps if (stage.meta or {}).get("gpu") is False}
            shows = [stage.addressing for stage in shows]
            dependents = {stage.addressing: len(nx.ancestors(graph, stage)) for stage in steps}
    except DvcException as problem:
        raise UserError(f"{folder / 'dvc.yaml'}: {problem}; fix it and rerun") from None
    done = set[str]()
    for stage, first in needs.items():
        if stage not in changed and done.issuperset(first):
            done.add(stage)
    return Dag(folder.resolve(), needs, dependents, frozenset(done), frozenset(without_gpu), shows, logs)


def logs_of(folder: Path) -> Path:
    """Return the folder for the logs of a pipeline folder's stages, in .dvc/tmp of its project."""
    try:
        project = Path(Repo.find_root(str(folder)))
    except DvcException as problem:
        raise UserError(f"{folder}: {problem}") from None
    return project / ".dvc" / "tmp" / "grid" / folder.resolve().relative_to(project) / "logs"


def record_order(dag: Dag) -> None:
    """Record the order of stages in dvc.lock, unless an interrupted call has done so."""
    if not (file := _order_file(dag)).exists():
        write_text(file, json.dumps(_stage_names(dag.folder / "dvc.lock")))


def restore_order(dag: Dag) -> None:
    """Sort dvc.lock as a serial `dvc repro` does: recorded stages keep their places, the others follow as in `needs`.

    DVC appends a stage when it ends, so several workers leave the same lines in another order.
    """
    file, path = _order_file(dag), dag.folder / "dvc.lock"
    known = json.loads(file.read_text())
    with contextlib.chdir(dag.folder), Repo(_wait_for_lock=True) as repo, repo.lock:
        if path.exists():
            data: Any = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
            places = {name: i for i, name in enumerate(dict.fromkeys([*known, *dag.needs]))}
            stages = data["stages"]
            for name in sorted(stages, key=lambda name: places.get(name, len(places))):
                stages.move_to_end(name)
            write_text(path, dumps_yaml(data))
    file.unlink()


def show(dag: Dag) -> None:
    """Run the stages that print the results, with which `dvc repro` ends."""
    with contextlib.chdir(dag.folder), Repo(_wait_for_lock=True) as repo:
        for stage in dag.shows:
            repo.reproduce(stage, single_item=True)


def _order_file(dag: Dag) -> Path:
    return dag.logs.parent / "order.json"


def _stage_names(path: Path) -> list[str]:
    return list(load_yaml(str(path)).get("stages", {})) if path.exists() else []
