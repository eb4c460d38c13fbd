"""Read the files that the stages wrote for the runs of `grid`, each once, as input of a report."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from cure.core.names import ORDER
from cure.errors import UserError, first_sentence
from cure.evaluation.statistics.contradictions import parse_attack
from cure.evaluation.statistics.results import (
    CorruptResult,
    LayersResult,
    RiftResult,
    RunAttackResult,
    parse_rift,
)
from cure.settings.sections import Grid
from cure.storage.curves import refuse_cut
from cure.storage.files import read_bytes, refuse_special
from cure.storage.paths import Run
from cure.storage.records import R, Record, parse

T = TypeVar("T")
AttackResults = dict[Run, RunAttackResult]
CorruptResults = dict[Run, CorruptResult]


@runtime_checkable
class Placed(Protocol):
    """A run of ours or a published claim: both have a data set and a model."""

    @property
    def dataset(self) -> str:
        """Return the name of an entry of cure/datasets."""

    @property
    def model(self) -> str:
        """Return the name of an entry of cure/models."""


def setting(placed: Placed) -> str:
    """Return data set and model, such as digits/small."""
    return f"{placed.dataset}/{placed.model}"


def place(run: Run) -> dict[str, Any]:
    """Return the columns that every table of runs begins with: setting, method and seed."""
    return {"setting": setting(run), "method": run.method, "seed": run.seed}


def methods(grid: Grid) -> list[str]:
    """Return the methods from top to bottom of the table; those that ORDER does not name come last, by family."""
    return sorted(grid.methods, key=lambda row: ORDER.index(row) if row in ORDER else len(ORDER))


class Sidecar(Record):
    """The part of a provenance file that the report uses (storage/provenance.py)."""

    device: str
    torch: str
    epochs: Annotated[int, Field(ge=1)] | None = None  # only of a stage that trains


@dataclass(frozen=True)
class AnalysisFile:
    """The arrays that an analysis wrote for one run, by name. Without axes they are pictures."""

    classes: list[str]
    axes: dict[str, list[Any]]
    arrays: dict[str, NDArray[np.generic]]


class Results:
    """The files behind a report. Each is read at its first use and cached.

    Only runs of `grid` are read. A missing or unreadable file raises UserError. Without `whole`, rows and studies with
    missing files are left out. `robust` is the method whose networks those of `grid.revise_from_robust` fine-tune.
    """

    def __init__(self, grid: Grid, whole: bool = True, robust: str = "") -> None:
        self.grid, self.whole = grid, whole
        self.starts = dict.fromkeys(grid.revise_from_robust, robust)
        self._bytes: dict[Path, bytes] = {}
        self._parsed: dict[Path, Any] = {}

    def of(self, some: list[str]) -> list[Run]:
        """Return the runs of these methods, with all seeds."""
        found = (
            Run(dataset, model, method, self.grid.seeds[0])
            for dataset in self.grid.datasets
            for model in self.grid.models
            for method in some
        )
        return [run for row in found if row in self.rows for run in self.seeds(row)]

    def seeds(self, row: Run) -> list[Run]:
        """Return the runs whose mean a row is: one per seed."""
        return [replace(row, seed=seed) for seed in self.grid.seeds]

    @cached_property
    def rows(self) -> list[Run]:
        """Return the first seed's run of every row, in the order of the table."""
        return [row for row in every_row(self.grid) if self.whole or all(path.exists() for path in self.wanted(row))]

    @cached_property
    def runs(self) -> list[Run]:
        """Return every run, in the order of the table."""
        return [run for row in self.rows for run in self.seeds(row)]

    def wanted(self, row: Run) -> list[Path]:
        """Return the files that a row requires."""
        wanted = list[Path]()
        for run in self.seeds(row):
            wanted += [run.result("attack"), run.result("corrupt")]
            wanted += [run.result("revise")] if run.method in self.grid.revised else []
            wanted += [run.analyses] if run.method in self.grid.analyse else []
            wanted += [run.curve] if run.method not in self.grid.revise_from_robust else []
        return wanted

    @cached_property
    def trained(self) -> list[Run]:
        """Return the runs with a curve: all but those that only consolidate another run."""
        return [run for run in self.runs if run.method not in self.grid.revise_from_robust]

    @cached_property
    def attacks(self) -> AttackResults:
        """Return the result of the stage attack of every run of the table."""
        return {run: self._once(run.result("attack"), parse_attack) for run in self.runs}

    @cached_property
    def corruptions(self) -> CorruptResults:
        """Return the result of the stage corrupt of every run of the table."""
        return {run: self._record(CorruptResult, run.result("corrupt")) for run in self.runs}

    @cached_property
    def rift(self) -> dict[Run, RiftResult]:
        """Return RiFT's report of its choice for each run that RiFT consolidates."""
        found = {run: self._once(run.result("revise"), parse_rift) for run in self.of(self.grid.revised)}
        return {run: one for run, one in found.items() if one}

    def layers(self, run: Run) -> LayersResult:
        """Return the result of one run of the stage layers."""
        return self._record(LayersResult, run.result("layers"))

    def curve(self, run: Run) -> pd.DataFrame:
        """Return the curve of a training, a line per epoch; raise UserError if epochs are missing."""
        sidecars = [self.sidecar(run, stage) for stage in ("pretrain", "update", "layers")]
        epochs = next((side.epochs for side in sidecars if side), None)

        def whole(text: bytes) -> pd.DataFrame:
            refuse_cut(text, epochs)
            return pd.read_csv(io.BytesIO(text))

        return self._once(run.curve, whole)

    def sidecar(self, run: Run, stage: str) -> Sidecar | None:
        """Return the provenance of one stage of a run, or None if the stage wrote none."""
        path = run.provenance(stage)
        return self._record(Sidecar, path) if path.exists() else None

    def analysis(self, run: Run, name: str) -> AnalysisFile | None:
        """Return the arrays of an analysis, or None if it does not suit the method of the run."""
        path = run.analysis(name)
        if path not in self._parsed:
            suits = path.exists() or not path.parent.is_dir()
            self._parsed[path] = _opened(path) if suits else None
        found: AnalysisFile | None = self._parsed[path]
        return found

    @cached_property
    def digest(self) -> str:
        """Return the sha256 of the files behind the numbers: attack and corrupt of every run, then the curves."""
        files = [path for run in self.runs for path in (run.result("attack"), run.result("corrupt"))]
        files += [run.curve for run in self.runs if run.curve.exists()]
        return hashlib.sha256(b"\0".join(map(self._text, files))).hexdigest()

    def _record(self, kind: type[R], path: Path) -> R:
        return self._once(path, partial(parse, kind))

    def _once(self, path: Path, read: Callable[[bytes], T]) -> T:
        """Return `read` of a file's bytes; later calls return the same object. A ValueError becomes a UserError."""
        if path not in self._parsed:
            try:
                self._parsed[path] = read(self._text(path))
            except ValueError as problem:
                raise not_whole(path, problem) from None
        found: T = self._parsed[path]
        return found

    def _text(self, path: Path) -> bytes:
        if path not in self._bytes:
            if not path.exists():
                raise UserError(f"{path}: does not exist yet; run `dvc repro`")
            try:
                self._bytes[path] = read_bytes(path)
            except OSError as problem:
                raise not_whole(path, problem.strerror) from None
        return self._bytes[path]


def not_whole(path: Path, why: object) -> UserError:
    """Return the error for a file that was cut, edited or replaced."""
    return UserError(f"{path}: a damaged or incomplete result: {why}; delete it and run `dvc repro`")


def _opened(path: Path) -> AnalysisFile:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise UserError(f"{path}: does not exist yet; run `dvc repro`")
    try:
        refuse_special(path)
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("cure", "{}"))
            arrays = {key: file.get_tensor(key) for key in sorted(file.keys())}
        shape = [len(labels) for labels in about["axes"].values()]
        if shape and any(array.size != prod(shape) for array in arrays.values()):
            raise ValueError(f"its arrays do not have the {shape} values of its axes")
        return AnalysisFile(about["classes"], about["axes"], arrays)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise not_whole(path, first_sentence(problem)) from None


def every_row(grid: Grid) -> list[Run]:
    """Return the first seed's run of every row that a grid names, in the order of the table."""
    return [
        Run(dataset, model, method, grid.seeds[0])
        for dataset in grid.datasets
        for model in grid.models
        for method in methods(grid)
    ]


def load_results(grid: Grid, whole: bool = True, robust: str = "") -> Results:
    """Return the results of the runs of a grid; arguments as in `Results`."""
    return Results(grid, whole, robust)
