"""What there is to do and in which order, as DVC knows it, and dvc.lock as a serial run leaves it."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.utils.serialize import dumps_yaml, load_yaml, parse_yaml_for_update

from cure.errors import UserError
from cure.storage.files import write_text


@dataclass(frozen=True)
class Dag:
    """The stages of a pipeline folder: every stage of its dvc.yaml, and what they need of others."""

    folder: Path
    needs: dict[str, list[str]]  # stage -> stages that come first; in the order of a serial `dvc repro`
    behind: dict[str, int]  # stage -> how many others wait for it, directly or not
    done: frozenset[str]  # up to date, and everything that they need as well
    logs: Path  # of this folder's stages, in .dvc/tmp, which git ignores

    def log(self, stage: str) -> Path:
        """Where a stage's output goes."""
        return self.logs / f"{stage.replace('/', '_')}.log"

    def progress(self, stage: str) -> Path:
        """Where the worker and the stage say how far it is: a line of JSON for each attempt and each step."""
        return self.log(stage).with_suffix(".progress")


def read(folder: Path) -> Dag:
    """The stages of `folder`/dvc.yaml; refuses what DVC cannot read."""
    if not (folder / "dvc.yaml").exists():
        raise UserError(f"{folder / 'dvc.yaml'}: not found; name a pipeline folder, such as quickstart")
    try:
        with contextlib.chdir(folder), Repo(_wait_for_lock=True) as repo:
            graph = get_active_graph(repo.index.graph)
            steps = plan_repro(graph, collect_stages(repo, ["dvc.yaml"]))
            changed = repo.status(targets=["dvc.yaml"])
            project = Path(repo.root_dir)
            # in here, since DVC names a stage as it is called from the working folder
            needs = {stage.addressing: [need.addressing for need in graph.successors(stage)] for stage in steps}
            behind = {stage.addressing: len(nx.ancestors(graph, stage)) for stage in steps}
    except DvcException as problem:
        raise UserError(f"{folder / 'dvc.yaml'}: {problem}; mend what DVC complains about") from None
    done = set[str]()
    for stage, first in needs.items():
        if stage not in changed and done.issuperset(first):
            done.add(stage)
    place = folder.resolve().relative_to(project)
    return Dag(folder.resolve(), needs, behind, frozenset(done), project / ".dvc" / "tmp" / "grid" / place / "logs")


def begin(dag: Dag) -> None:
    """Note which stages dvc.lock knows, unless a run that was cut off has done so."""
    if not (note := _note(dag)).exists():
        write_text(note, json.dumps(_names(dag.folder / "dvc.lock")))


def settle(dag: Dag) -> None:
    """Bring dvc.lock into a serial run's order: stages that it knew keep their places, the others follow as in `needs`.

    DVC appends a stage when it ends, so that a parallel run leaves another order of the same lines.
    """
    note, path = _note(dag), dag.folder / "dvc.lock"
    known = json.loads(note.read_text())
    with contextlib.chdir(dag.folder), Repo(_wait_for_lock=True) as repo, repo.lock:
        if path.exists():
            data: Any = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
            places = {name: i for i, name in enumerate(dict.fromkeys([*known, *dag.needs]))}
            stages = data["stages"]
            for name in sorted(stages, key=lambda name: places.get(name, len(places))):
                stages.move_to_end(name)
            write_text(path, dumps_yaml(data))
    note.unlink()


def _note(dag: Dag) -> Path:
    return dag.logs.parent / "order.json"


def _names(path: Path) -> list[str]:
    return list(load_yaml(str(path)).get("stages", {})) if path.exists() else []
