"""Twenty seeded moments at which a stage is killed; run again, it ends in the bytes of a run that nobody disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
from ruamel.yaml import YAML

from cure.storage import resume as resume_files
from tests.support.project import ROOT
from tests.support.stages import call, short

STAGES = {  # name -> its command, and the runs that must be there
    "update cure": ("update", "digits", "small", "cure", "0"),  # a network of its own past beside the student
    "update act": ("update", "digits", "small", "act", "0"),  # two students, two optimisers' worth of momentum
    "update las_at": ("update", "digits", "small", "las_at", "0"),  # a strategy with an optimiser of its own
    "revise rift": ("revise", "digits", "small", "rift", "0"),
    "attack natural": ("attack", "digits", "small", "natural", "0"),
    "corrupt natural": ("corrupt", "digits", "small", "natural", "0"),
}


@dataclass(frozen=True)
class Moment:
    """When and how a stage dies: at this share of the events of a kind."""

    stage: str
    kind: str
    share: float
    signal: str

    def __str__(self):
        return f"{self.stage.replace(' ', '-')}-{self.kind}-{self.share:.3f}-{self.signal}"


def moments():
    """The same twenty on every machine: most anywhere, some while files are written."""
    chance = random.Random(0)
    kinds = ["call", "half", "call", "rename", "call", "renamed"]
    stages = ["update cure", "attack natural", "update act", "update las_at", "update cure", "attack natural"]
    stages += ["corrupt natural", "update cure", "attack natural", "revise rift"]
    return [
        Moment(stages[i % len(stages)], kinds[i % len(kinds)], chance.random(), ["SIGKILL", "SIGTERM", "SIGINT"][i % 3])
        for i in range(20)
    ]


def started(folder, scratch, stage, *words, killer=()):
    """A stage as DVC runs it, or under the killer."""
    watched = ["-m", "tests.support.killer", *map(str, killer)] if killer else []
    line = [sys.executable, *watched, str(ROOT / "stages" / f"{stage}.py"), *words]
    env = os.environ | {"CURE_SCRATCH": str(scratch), "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=900)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder in which every stage has run undisturbed, without what each of them wrote, and that by its name."""
    folder, scratch = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("scratch")
    YAML(typ="safe", pure=True).dump(short(), folder / "params.yaml")
    before, wrote, events = {}, {}, {}
    parents = [("prepare", "digits"), ("pretrain", "digits", "small", 0), ("update", "digits", "small", "at", 0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume_files, "FOLDER", scratch)
        for words in parents:
            call(folder, *words)
    for name, words in STAGES.items():
        before[name] = files(folder)
        done = started(folder, scratch, *words, killer=("call", 0, "SIGKILL"))
        assert done.returncode == 0, done.stderr
        events[name] = json.loads(done.stderr.splitlines()[-1])
        wrote[name] = {path: data for path, data in files(folder).items() if path not in before[name]}
    return before, wrote, events


@pytest.mark.reliability("moments")
@pytest.mark.parametrize("moment", moments(), ids=str)
def test_killed_and_run_again_it_ends_in_the_same_bytes(whole, tmp_path, moment):
    before, wrote, events = whole
    folder, scratch = tmp_path / "pipeline", tmp_path / "scratch"
    for path, data in before[moment.stage].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    count = 1 + int(moment.share * events[moment.stage][moment.kind])
    killed = started(folder, scratch, *STAGES[moment.stage], killer=(moment.kind, count, moment.signal))
    if moment.signal == "SIGINT":
        assert killed.returncode == 130, killed.stderr
        assert killed.stderr == "interrupted; rerun to resume\n"
    else:
        assert killed.returncode == -signal.Signals[moment.signal], killed.stderr
    new = {path: data for path, data in files(folder).items() if path not in before[moment.stage]}
    finished = {path: data for path, data in new.items() if not path.endswith(".tmp")}
    assert finished.items() <= wrote[moment.stage].items()  # whole or absent
    again = started(folder, scratch, *STAGES[moment.stage])
    assert again.returncode == 0, again.stderr
    assert files(folder) == before[moment.stage] | wrote[moment.stage]
    assert [path for path in files(scratch) if not path.endswith(".lock") and not path.startswith("corrupted/")] == []
