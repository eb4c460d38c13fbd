"""dvc.yaml at two scales, resolved as DVC does: every stage of every run, and the code that it reaches."""

import ast
import itertools
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cure.settings.matrix import filled
from cure.storage.paths import Run
from stages import digest
from tests.support.project import ROOT
from tests.support.settings import parsed

SCALES = {"paper": ROOT, "quickstart": ROOT / "quickstart"}


class Item(NamedTuple):
    """One stage of one run, as DVC would run it, with paths relative to the folder of its dvc.yaml."""

    scale: str
    family: str
    place: dict
    cmd: str
    deps: tuple
    params: tuple
    outs: dict  # path -> flags

    @property
    def script(self):
        return Path(self.cmd.split()[1]).stem

    @property
    def method(self):
        return self.place.get("method", "at" if self.family == "layers" else "natural")

    @property
    def run(self):
        run = Run(self.place["dataset"], self.place["model"], self.method, self.place["seed"])
        return run.layers(self.place["variant"], self.place["group"]) if self.family == "layers" else run

    def __str__(self):
        return "-".join(map(str, [self.family, *self.place.values()]))


def flagged(stage):
    outs = [entry for key in ("outs", "metrics", "plots") for entry in stage.get(key, [])]
    pairs = [next(iter(entry.items())) if isinstance(entry, dict) else (entry, {}) for entry in outs]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def wider(params):
    """Return the grid with every section of params.yaml, and a second seed, which a path must distinguish.

    `items` uses every data set with the first model, and every model with the first data set.
    """
    grid = params["grid"]
    models = list(params["models"])
    more = {"datasets": list(params["datasets"]), "models": models, "pretrain": models}
    more["layers"] = grid["layers"] | {"models": models}
    return grid | more | {"seeds": [*grid["seeds"], max(grid["seeds"]) + 1]}


def made(pipeline):
    """Return the families that make something: all but `show`."""
    return {family: stage for family, stage in pipeline["stages"].items() if family != "show"}


@cache
def items(scale):
    pipeline, params = (parsed(SCALES[scale] / name) for name in ("dvc.yaml", "params.yaml"))
    names, found = dict(params), []
    names["grid"] = wider(params)
    corner = {"dataset": names["grid"]["datasets"][0], "model": names["grid"]["models"][0]}
    for family, stage in made(pipeline).items():
        matrix = filled(stage.get("matrix", {}), names)
        for values in itertools.product(*matrix.values()):
            place = dict(zip(matrix, values, strict=True))
            if all(place.get(key, first) != first for key, first in corner.items()):
                continue
            one = filled(
                {key: part for key, part in stage.items() if key not in ("matrix", "meta")}, names | {"item": place}
            )
            one["outs"] = flagged({key: one.pop(key) for key in ("outs", "metrics", "plots") if key in one})
            found.append(Item(scale, family, place, **one))
    return tuple(found)


def of(scale, family):
    return [item for item in items(scale) if item.family == family]


def code_texts(item):
    """Return the texts of code/ that an item depends on; for a folder, all that params.yaml makes."""
    texts = texts_of(item.scale)
    wanted = [dep.removeprefix("code/") for dep in item.deps if dep.startswith("code/")]
    return {name for name in texts for dep in wanted if name == dep or name.startswith(f"{dep}/")}


@cache
def texts_of(scale):
    """Map each text of code/ to the files that it names."""
    starts = digest.starts(parsed(SCALES[scale] / "params.yaml"))
    return {name.as_posix(): closure(start) for name, start in starts.items()}


@cache
def closure(start):
    """Return every file that one file reaches, relative to the root."""
    return frozenset(path.relative_to(ROOT).as_posix() for path in digest.closure(start))


def code_files(item):
    """Return the files whose edit makes an item stale."""
    return frozenset().union(*(texts_of(item.scale)[name] for name in code_texts(item)))


@cache
def asked_of_catalogue(script, *verbs):
    """Return (file, folder) of every catalogue.VERB("folder", ...) in the code that the stage reaches.

    The room settings is left out: it reads every entry to check params.yaml, and passes none on.
    """
    return {
        (name, ast.literal_eval(node.args[0]))
        for name in closure(ROOT / "stages" / f"{script}.py")
        if name.endswith(".py") and not name.startswith("cure/settings/")
        for node in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"catalogue.{verb}" for verb in verbs}
    }


def folders_loaded(script):
    """Return the catalogues from which the stage's code loads entries."""
    return {folder for _, folder in asked_of_catalogue(script, "entry", "hyper")}


def entries(item):
    """Return the entry files that an item loads: those of its run, and those of other catalogues in params.yaml."""
    run, named = {**item.place, "method": item.method}, digest.named(parsed(SCALES[item.scale] / "params.yaml"))
    found = set()
    for folder in folders_loaded(item.script):
        own = run.get(folder.removesuffix("s"))
        found |= {f"cure/{folder}/{name}.py" for name in ([own] if own else named[folder])}
    return found


def reached(item):
    """Return every file that an item runs: the imports of its script, its entries, and their imports."""
    return frozenset().union(*(closure(ROOT / name) for name in {f"stages/{item.script}.py", *entries(item)}))
