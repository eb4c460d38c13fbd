"""Check a whole params.yaml before any work, and read the sections that a stage declares.

Mistakes in what the grid uses are errors. Mistakes in the rest are reported separately and stop nothing.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from cure import catalogue
from cure.errors import did_you_mean
from cure.settings import sections
from cure.settings.base import Ball, Settings
from cure.settings.check_layers import check_layers
from cure.settings.families import all_methods, check_against, check_families, check_lists, check_roles
from cure.settings.params import FILE, Params, for_run, read, revise_key, update_key, with_threat_defaults
from cure.settings.problems import Problems, collect, fill
from cure.settings.sections import Masking, Preflight

SECTIONS: dict[str, type[Settings]] = {
    "grid": sections.Grid,
    "roles": sections.Roles,
    "run": sections.RunSettings,
    "threat": sections.Threat,
    "pretrain": sections.Fit,
    "train": sections.Train,
    "attack": sections.AttackSuite,
    "preflight": Preflight,
    "masking": Masking,
    "corrupt": sections.CorruptSuite,
    "analyse": sections.Analyse,
    "report": sections.ReportText,
}
WITH_THREAT = ("pretrain", "train", "analyse")  # sections whose attacks take their defaults from `threat`
LISTED = {"corrupt.corruptions": "corruptions", "analyse.entries": "analyses", "report.figures": "figures"}
FOLDERS = ("datasets", "models", "methods")
TAKEN = {"setting", "method", "seed", "clean", "worst", "corrupted", "epoch", "images"}  # other columns of the table
TAKEN |= {"index", "label", "broken_by"}  # and those of per_image.csv


def load(declared: list[str], dataset: str = "", model: str = "", path: Path = FILE) -> Params:
    """Check the whole file, then return the sections that a stage declares.

    Args:
        declared: keys under `params:` of the stage in dvc.yaml.
        dataset: data set of the run, or "".
        model: model of the run, or "".
        path: the params file.

    Raises:
        UserError: the file has mistakes, or there is no such data set or model.
    """
    raw = read(path)
    check(raw).refuse(path)
    for folder, name in (("datasets", dataset), ("models", model)):
        if name:
            catalogue.entry(folder, name)
    return Params(raw, declared, dataset, model)


def unused(raw: dict[str, Any]) -> list[str]:
    """Return the mistakes in the parts of a checked file that its grid does not use."""
    return sorted(check(raw).unused)


def check(raw: dict[str, Any]) -> Problems:
    """Return all mistakes in a params file; those in what its grid does not use are in `unused`."""
    problems = Problems()
    known = [*SECTIONS, *FOLDERS, "alpha", "layers", "root"]
    problems.extend(f"{key}: unknown section{did_you_mean(str(key), known)}" for key in raw if key not in known)
    problems.extend(f"{key}: missing section" for key in known if key not in raw)
    if not isinstance(raw.get("root", "."), str):
        problems.append(f"root: not a path; found {raw['root']!r}")
    for dataset, model in _runs(raw):
        collect(partial(Params(raw, ["threat"], dataset, model).get, "threat", sections.Threat), problems)
    if any(line.startswith("threat") for line in problems):  # reported once; other checks use a valid one
        raw = {**raw, "threat": {"eps": 1, "step": 1}}
    for name in raw.keys() & SECTIONS.keys() - {"threat"}:
        for dataset, model in _runs(raw) if name in WITH_THREAT else [("", "")]:
            declared = [name, "threat"] if name in WITH_THREAT else [name]
            collect(partial(Params(raw, declared, dataset, model).get, name, SECTIONS[name]), problems)
    for folder in FOLDERS:
        _check_entries(raw, folder, problems)
    check_families(raw.get("grid"), problems)
    check_roles(raw.get("roles"), raw.get("grid"), problems)
    check_against(raw.get("report"), raw.get("grid"), problems)
    check_lists(raw, problems)
    _check_suites(raw, problems)
    _check_methods(raw, problems)
    check_layers(raw, problems)
    return Problems(problems, problems.unused)


def _runs(raw: dict[str, Any]) -> list[tuple[str, str]]:
    """Return all pairs of data set and model of the grid, or of the sections if the grid is invalid."""
    grid = raw.get("grid")

    def named(folder: str) -> list[str]:
        listed = grid.get(folder) if isinstance(grid, dict) else None
        found = listed if isinstance(listed, list) else raw.get(folder)
        return [name for name in found if isinstance(name, str)] if isinstance(found, list | dict) else []

    return list(product(named("datasets") or [""], named("models") or [""]))


def _check_entries(raw: dict[str, Any], folder: str, problems: Problems) -> None:
    section, grid = raw.get(folder), raw.get("grid")
    if not isinstance(section, dict):
        problems.append(f"{folder}: not a mapping from entries to settings")
        return
    known, used = catalogue.names(folder), _in_use(raw, folder)
    for name in section:
        told = problems.of(used=name in used)
        if name not in known:
            told.append(f"{folder}.{name}: no such entry{did_you_mean(str(name), known)}")
        elif folder != "methods":
            found = fill(catalogue.hyper(folder, name), section[name] or {}, f"{folder}.{name}", told)
            if found is not None and folder == "datasets" and "augment" not in found.model_fields_set:
                told.append(
                    f"{folder}.{name}.augment: missing; DVC tracks it for every training, so a pipeline needs it: "
                    f"{found.augment.model_dump()}"
                )
    lists = {"methods": [all_methods(grid)], "models": _lists(grid, "models", "pretrain")}.get(
        folder, _lists(grid, folder)
    )
    for name in (name for named in lists if isinstance(named, list) for name in named):
        if isinstance(name, str) and name not in section:
            problems.append(
                f"grid: {name!r} has no section under {folder}{did_you_mean(name, list(map(str, section)))}"
            )


def _in_use(raw: dict[str, Any], folder: str) -> set[Any]:
    """Return the entries that the grid's runs need, or all that have a section if the grid cannot be read."""
    grid, section = raw.get("grid"), raw.get(folder)
    if folder == "methods":
        layers = grid.get("layers") if isinstance(grid, dict) else None
        study = isinstance(layers, dict) and layers.get("models")
        return {*all_methods(grid), *(["at"] if study else [])}  # AT trains the blocks of the layer-wise study
    named = _lists(grid, "models", "pretrain") if folder == "models" else _lists(grid, folder)
    if not named or not all(isinstance(names, list) for names in named):
        return set(section) if isinstance(section, dict) else set()
    return {name for names in named for name in names if isinstance(name, str)}


def _lists(grid: Any, *keys: str) -> list[Any]:
    """Return the grid's values under these keys, valid or not."""
    return [grid.get(key) for key in keys] if isinstance(grid, dict) else []


def _check_suites(raw: dict[str, Any], problems: Problems) -> None:
    attack = raw.get("attack")
    for where, name, column in _columns(attack):
        known = catalogue.names("attacks")
        if name in TAKEN or str(name).startswith("nrr_"):
            problems.append(f"{where}: the table has a column of this name already")
        if not isinstance(column, dict) or column.get("attack") not in known:
            found = column.get("attack") if isinstance(column, dict) else column
            problems.append(f"{where}.attack: no attack {found!r}{did_you_mean(str(found), known)}")
        else:
            kind = catalogue.hyper("attacks", column["attack"])
            settings = {key: value for key, value in column.items() if key != "attack"}
            if not issubclass(kind, Ball) and name in _shown(attack):
                problems.append(f"{where}: has no accuracy of its own, so none of nrr, table and last may name it")
            for dataset, model in _runs(raw):
                threat = for_run(raw["threat"], dataset, model, "threat")
                fill(kind, with_threat_defaults(kind, settings, threat), where, problems)
    for where, folder in LISTED.items():  # lists of entries, or mappings from entries to settings
        section, key = where.split(".")
        part, known = raw.get(section), catalogue.names(folder)
        listed = part.get(key) if isinstance(part, dict) else None
        for name in listed if isinstance(listed, list | dict) else ():
            if isinstance(listed, dict) and name not in known:
                problems.append(f"{where}.{name}: no such entry{did_you_mean(str(name), known)}")
            elif isinstance(name, str) and name not in known:
                problems.append(f"{where}: no entry {name!r}{did_you_mean(name, known)}")
            elif isinstance(listed, dict):
                fill(catalogue.hyper(folder, name), listed[name], f"{where}.{name}", problems)


def _columns(attack: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, name, settings) of every column, those on request included."""
    for part in ("columns", "on_request"):
        section = attack.get(part) if isinstance(attack, dict) else None
        for name, column in section.items() if isinstance(section, dict) else ():
            yield f"attack.{part}.{name}", name, column


def _shown(attack: Any) -> list[Any]:
    """Return the columns whose accuracy the table shows."""
    lists = (attack.get(key) for key in ("table", "last"))
    return [attack.get("nrr"), *(name for named in lists if isinstance(named, list) for name in named)]


def _check_methods(raw: dict[str, Any], problems: Problems) -> None:
    methods: Any = raw.get("methods") if isinstance(raw.get("methods"), dict) else {}
    in_use = _in_use(raw, "methods")
    for name in set(methods) & set(catalogue.names("methods")):
        method, used = catalogue.entry("methods", name).METHOD, name in in_use
        keys = {update_key(name, method): method.hyper, revise_key(name, method): method.revise or method.hyper}
        if len(keys) > 1 and isinstance(methods[name], dict):
            parts = [key.rpartition(".")[2] for key in keys]
            odd = [part for part in methods[name] if part not in parts]
            told = problems.of(used=used)
            told.extend(f"methods.{name}.{part}: unknown key{did_you_mean(str(part), parts)}" for part in odd)
        for key, kind in keys.items():
            common = [line.removeprefix("train") for line in problems if line.startswith("train")]
            known = {f"{key}.{where}{line}" for line in common for where in ("train", "matched.train")}
            for other, variant in _variants(raw, key):
                for dataset, model in _runs(raw):
                    found = Problems()
                    view = Params(variant, [key, "train", "threat", "alpha"], dataset, model)
                    collect(partial(view.method, key, kind), found)
                    told = problems.of(used=used and not other)
                    told.extend(line + other for line in found if line not in known)
                    known |= set(found)


def _variants(raw: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the file as it is, then with each preset of the section, then with the other protocol."""
    yield "", raw
    section: Any = raw
    for part in key.split("."):
        section = section.get(part) if isinstance(section, dict) else None
    presets = section.get("presets") if isinstance(section, dict) else None
    for name in presets if isinstance(presets, dict) else ():
        yield f" (preset {name})", _replaced(raw, key.split("."), {**section, "preset": name})
    if isinstance(raw.get("train"), dict):
        other = "paper" if raw["train"].get("protocol") == "matched" else "matched"
        yield f" (protocol {other})", {**raw, "train": {**raw["train"], "protocol": other}}


def _replaced(tree: dict[str, Any], place: list[str], value: Any) -> dict[str, Any]:
    head, *rest = place
    return {**tree, head: _replaced(tree[head], rest, value) if rest else value}
