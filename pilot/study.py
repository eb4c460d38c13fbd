"""Produce the evidence: `python -m pilot.study ARCHIVE NAME...` runs studies of pilot/studies; rerun to resume.

A study overrides settings of the pilot: first with the files in `over`, then with its `values`. It is one pipeline, or
one for each of its `variants`. It runs its `stages`, by default all. The outputs of a pipeline are in
pilot/evidence/STUDY[/VARIANT], in git except for data and training checkpoints.

An existing output is kept, whatever code produced it; its provenance records the commit. If another pipeline of the
named studies has run a step with the same settings, its outputs are copied. DVC could do both, but it needs its cache,
which a fresh clone lacks, and it reruns stages whose code changed, often in the weeks that the studies take.
"""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from cure.errors import UserError, did_you_mean
from cure.runtime.terminal import stage
from cure.settings.matrix import at
from cure.settings.params import preset, read
from cure.storage.files import write_text
from pilot.gpu import ORDER, TO_DO, write_params
from pilot.pipeline import ROOT, Step, pending, steps

TOOK = ("seconds", "cpu")
KEYS = {"over", "stages", "values", "variants"}
STUDIES, EVIDENCE = ROOT / "pilot" / "studies", ROOT / "pilot" / "evidence"


@dataclass
class Pipeline:
    """A pipeline folder, its steps in their order, and the record of the steps that ran."""

    name: str  # such as tuning/trades-1
    folder: Path
    params: dict[str, Any]
    steps: list[Step]
    told: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def began(self) -> bool:
        """Return whether a step of which git keeps something has run here."""
        ran = {name for name, told in self.told.items() if "taken_from" not in told}
        return any(step.name in ran for step in self.steps if step.script != "prepare")

    def to_do(self) -> list[Step]:
        """Return the steps that are still needed."""
        return pending(self.steps, self.folder)

    @cached_property
    def keys(self) -> dict[str, str]:
        """Return step -> digest of its name, its settings, and the digests of the steps that it needs."""
        maker = {out: step.name for step in self.steps for out in step.outs}
        found: dict[str, str] = {}
        for step in self.steps:
            settings = {key: preset(at(self.params, key), key) for key in step.params}
            parents = sorted({found[maker[dep]] for dep in step.deps if dep in maker})
            text = json.dumps([step.name, settings, parents], sort_keys=True, default=str)
            found[step.name] = hashlib.sha256(text.encode()).hexdigest()
        return found

    def tell(self, step: Step, **news: Any) -> None:
        """Record the time of a step, added to that before an interruption, or the pipeline that it was copied from."""
        before = self.told.get(step.name, {})
        self.told[step.name] = {
            key: value + before.get(key, 0) if key in TOOK else value for key, value in news.items()
        }
        write_text(self.folder / "steps.json", json.dumps(self.told, indent=1, sort_keys=True) + "\n")


def pipelines(name: str, evidence: Path = EVIDENCE) -> list[Pipeline]:
    """Return the pipelines of a study and make their folders; raise UserError for a folder with other settings."""
    known = sorted(path.stem for path in STUDIES.glob("*.yaml"))
    if name not in known:
        raise UserError(f"{name}: no such study{did_you_mean(name, known)}")
    study = read(STUDIES / f"{name}.yaml")
    if odd := set(study) - KEYS:
        raise UserError(f"pilot/studies/{name}.yaml: {min(odd)}: unknown; a study has {', '.join(sorted(KEYS))}")
    values, stages = overlays(study), study.get("stages")
    named = {f"{name}/{one}": values | (own or {}) for one, own in (study.get("variants") or {}).items()}
    return [_pipeline(one, evidence / one, own, stages) for one, own in (named or {name: values}).items()]


def overlays(study: dict[str, Any]) -> dict[str, Any]:
    """Return dotted key -> value of pilot/params.yaml for all variants of a study."""
    found = dict[str, Any]()
    for file in study["over"]:
        found |= read(ROOT / "pilot" / file)
    return found | (study.get("values") or {})


def _pipeline(name: str, folder: Path, values: dict[str, Any], stages: list[str] | None) -> Pipeline:
    path = folder / "params.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    values = values | {"root": os.path.relpath(ROOT, folder)}
    if not path.exists():
        write_params(path, values)
    params, told = read(path), folder / "steps.json"
    ordered = steps(read(ROOT / "pilot" / "dvc.yaml"), params, ORDER)
    ordered = [step for step in ordered if stages is None or step.script in stages]
    ordered.sort(key=lambda step: int(step.cmd[-1]) if step.cmd[-1].isdigit() else 0)  # all steps of one seed first
    asked = {one for step in ordered for one in step.params}
    for key, value in values.items():
        matters = any(f"{key}.".startswith(f"{one}.") or f"{one}.".startswith(f"{key}.") for one in asked)
        if matters and _found(params, key) != value:
            raise UserError(f"{path}: {key} differs from the study; delete this folder, or restore the study")
    return Pipeline(name, folder, params, ordered, json.loads(told.read_text()) if told.exists() else {})


def _found(params: dict[str, Any], key: str) -> Any:
    try:
        return at(params, key)
    except (KeyError, TypeError):
        return None


def shared(every: list[Pipeline]) -> None:
    """Copy outputs that another pipeline has of a step with the same settings, each for itself: git lacks some."""
    made: dict[tuple[str, str], Pipeline] = {}
    for pipeline in every:
        for step in pipeline.steps:
            for out in step.outs:
                if (pipeline.folder / out).exists():
                    made.setdefault((pipeline.keys[step.name], out), pipeline)
    for pipeline in every:
        for step in pipeline.to_do():
            absent = [out for out in step.outs if not (pipeline.folder / out).exists()]
            found = {out: source for out in absent if (source := made.get((pipeline.keys[step.name], out)))}
            for out, source in found.items():
                (pipeline.folder / out).parent.mkdir(parents=True, exist_ok=True)
                os.link(source.folder / out, pipeline.folder / out)
            if found:
                pipeline.tell(step, taken_from=next(iter(found.values())).name)


@dataclass
class Running:
    """A step in a process of its own."""

    pipeline: Pipeline
    step: Step
    key: str
    process: subprocess.Popen[bytes]
    begin: float

    def ended(self, wait: bool = False) -> int | None:
        """Return the exit code and record the time if the step has ended; return None while it runs."""
        pid, status, usage = os.wait4(self.process.pid, 0 if wait else os.WNOHANG)
        if not pid:
            return None
        self.process.returncode = code = os.waitstatus_to_exitcode(status)
        cpu = round(usage.ru_utime + usage.ru_stime)
        self.pipeline.tell(self.step, seconds=round(time.monotonic() - self.begin), cpu=cpu)
        print(f"{self.pipeline.name}: {self.step.name}: {f'exit {code}' if code else 'done'}, {cpu} s", flush=True)
        return code


def started(pipeline: Pipeline, step: Step, key: str) -> Running:
    """Start a step; append its output to the log of its pipeline."""
    with (pipeline.folder / "log").open("ab") as log:
        process = subprocess.Popen(step.cmd, cwd=pipeline.folder, stdout=log, stderr=log, start_new_session=True)
    return Running(pipeline, step, key, process, time.monotonic())


def ready(every: list[Pipeline], running: list[Running], failed: set[str]) -> Iterator[tuple[Pipeline, Step, str]]:
    """Yield the steps that can start: inputs exist, and no step with the same settings is running or has failed."""
    busy = failed | {one.key for one in running}
    for pipeline in every:
        for step in pipeline.to_do():
            key = pipeline.keys[step.name]
            if key not in busy and all((pipeline.folder / dep).exists() for dep in step.deps):
                yield pipeline, step, key


def run(every: list[Pipeline], workers: int, seconds: float, commit: bool) -> bool:
    """Run pending steps in this order, `workers` at a time, for `seconds`; return whether all of them are done."""
    running, failed, end = list[Running](), set[str](), time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            shared(every)
            while len(running) < workers and (could := next(ready(every, running, failed), None)):
                running.append(started(*could))
            if not running:
                break
            for one, code in _next_to_end(running, end):
                running.remove(one)
                failed |= {one.key} if code else set()
                if commit and not code and (one.step.script == "attack" or not one.pipeline.to_do()):
                    keep(one.pipeline)
    finally:
        for one in running:  # each writes its resume file
            one.process.send_signal(signal.SIGINT)
        for one in running:
            one.ended(wait=True)
        if commit:
            keep(*every)
    return not any(pipeline.to_do() for pipeline in every)


def _next_to_end(running: list[Running], end: float) -> list[tuple[Running, int]]:
    """Wait until a step ends or the time is over; return the ended steps with their exit codes."""
    found = list[tuple[Running, int]]()
    while not found and time.monotonic() < end:
        time.sleep(0.5)
        found = [(one, code) for one in running if (code := one.ended()) is not None]
    return found


def keep(*some: Pipeline) -> None:
    """Commit the folders of these pipelines, if they changed; not those with only a part of what another has made."""
    kept = [one for one in some if one.began or not one.to_do()]
    if not kept:
        return
    folders = [str(one.folder) for one in kept]
    subprocess.run(["git", "add", "--", *folders], cwd=ROOT, check=True)
    if subprocess.run(["git", "diff", "--cached", "--quiet", "--", *folders], cwd=ROOT, check=False).returncode:
        one = kept[0].name if len(kept) == 1 else ", ".join(sorted({each.name.split("/")[0] for each in kept}))
        subprocess.run(["git", "commit", "-q", "-m", f"Evidence: {one}", "--", *folders], cwd=ROOT, check=True)


def main(
    archive: Annotated[Path, typer.Argument(help="A tar archive of train/CLASS/* and test/CLASS/*; never unpacked.")],
    studies: Annotated[
        list[str], typer.Argument(help="Files of pilot/studies, by name, in this order; they share runs.")
    ],
    workers: Annotated[int, typer.Option(help="Steps at a time, a core each.", min=1)] = 2,
    minutes: Annotated[float, typer.Option(help="Stop after so long; rerun to continue.", min=0)] = 1e6,
    commit: Annotated[bool, typer.Option("--commit", help="Commit each run as it ends.")] = False,
) -> None:
    """Run studies. Exit codes: 0: all done; 2: wrong input; 3: more to do, or a step failed."""
    if not archive.is_file():
        raise UserError(f"{archive}: not found; name a tar archive of train/ and test/")
    os.environ["CURE_PILOT_IMAGES"] = str(archive.resolve())
    for end in (signal.SIGINT, signal.SIGTERM):  # a background shell ignores SIGINT, and the steps would inherit that
        signal.signal(end, signal.default_int_handler)
    every = [pipeline for name in studies for pipeline in pipelines(name)]
    raise typer.Exit(0 if run(every, workers, minutes * 60, commit) else TO_DO)


if __name__ == "__main__":
    stage(main)
