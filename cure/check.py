"""Check a whole params.yaml before any work, and open what a stage declared of it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cure import catalogue
from cure.core.settings import Settings
from cure.errors import Refused, did_you_mean
from cure.params import FILE, Params, armed, read
from cure.problems import Problems, fill
from cure.schema import AttackSuite, CorruptSuite, Fit, Grid, ReportText, Roles, Run, Threat, Train

SECTIONS: dict[str, type[Settings]] = {
    "grid": Grid,
    "roles": Roles,
    "run": Run,
    "threat": Threat,
    "pretrain": Fit,
    "train": Train,
    "attack": AttackSuite,
    "corrupt": CorruptSuite,
    "report": ReportText,
}
FOLDERS = ("datasets", "models", "methods")


def load(declared: list[str], dataset: str = "", model: str = "", path: Path = FILE) -> Params:
    """Read and check the whole file, then open the declared part of it."""
    raw = read(path)
    check(raw).refuse(path)
    return Params(raw, declared, dataset, model)


def check(raw: dict[str, Any]) -> Problems:
    """Everything that is wrong with a params file."""
    problems = Problems()
    known = [*SECTIONS, *FOLDERS, "alpha"]
    problems.extend(f"{key}: unknown section{did_you_mean(str(key), known)}" for key in raw if key not in known)
    problems.extend(f"{key}: missing section" for key in known if key not in raw)
    view = Params(raw, known)
    for name, kind in SECTIONS.items():
        if name in raw and "threat" in raw:
            _collect(partial(view.get, name, kind), problems)
    for folder in FOLDERS:
        _check_entries(raw, folder, problems)
    _check_roles(raw, problems)
    _check_suites(raw, problems)
    _check_methods(raw, problems)
    return problems


def _check_entries(raw: dict[str, Any], folder: str, problems: Problems) -> None:
    section = raw.get(folder)
    if not isinstance(section, dict):
        problems.append(f"{folder}: not a mapping from entries to settings")
        return
    known = catalogue.names(folder)
    problems.extend(f"{folder}.{n}: no such entry{did_you_mean(str(n), known)}" for n in section if n not in known)
    for name in set(section) & set(known) if folder != "methods" else ():
        fill(catalogue.hyper(folder, name), section[name] or {}, f"{folder}.{name}", problems)
    grid = raw.get("grid")
    for name in (grid if isinstance(grid, dict) else {}).get({"methods": "rows"}.get(folder, folder)) or ():
        if name not in section:
            problems.append(f"grid: {name!r} has no section under {folder}{did_you_mean(str(name), list(section))}")


def _check_roles(raw: dict[str, Any], problems: Problems) -> None:
    roles, grid = raw.get("roles"), raw.get("grid")
    rows = grid.get("rows") if isinstance(grid, dict) else None
    if not isinstance(roles, dict) or not isinstance(rows, list):
        return
    for role, row in roles.items():
        if row not in rows:
            problems.append(f"roles.{role}: {row!r} is no row of the grid{did_you_mean(str(row), rows)}")


def _check_suites(raw: dict[str, Any], problems: Problems) -> None:
    attack, corrupt = raw.get("attack"), raw.get("corrupt")
    columns = attack.get("columns") if isinstance(attack, dict) else None
    for name, column in (columns if isinstance(columns, dict) else {}).items():
        where, known = f"attack.columns.{name}", catalogue.names("attacks")
        if not isinstance(column, dict) or column.get("attack") not in known:
            found = column.get("attack") if isinstance(column, dict) else column
            problems.append(f"{where}.attack: no attack {found!r}{did_you_mean(str(found), known)}")
        else:
            kind = catalogue.hyper("attacks", column["attack"])
            settings = {key: value for key, value in column.items() if key != "attack"}
            fill(kind, armed(kind, settings, raw.get("threat") or {}), where, problems)
    known = catalogue.names("corruptions")
    for name in (corrupt.get("corruptions") if isinstance(corrupt, dict) else None) or ():
        if name not in known:
            problems.append(f"corrupt.corruptions: no corruption {name!r}{did_you_mean(str(name), known)}")


def _check_methods(raw: dict[str, Any], problems: Problems) -> None:
    methods, grid = raw.get("methods"), raw.get("grid")
    if not isinstance(methods, dict) or not isinstance(grid, dict):
        return
    for name in set(methods) & set(catalogue.names("methods")):
        method = catalogue.entry("methods", name).METHOD
        for key, kind in hyper_keys(name, method).items():
            for dataset in grid.get("datasets") or ():
                for model in grid.get("models") or ():
                    view = Params(raw, [key, "train", "threat", "alpha"], str(dataset), str(model))
                    _collect(partial(view.method, key, kind), problems)


def _collect(read_section: Callable[[], Any], problems: Problems) -> None:
    try:
        read_section()
    except Refused as refused:
        problems.extend(str(refused).splitlines())
    except (TypeError, ValueError, AttributeError) as odd:  # a section that is a list or a word, say
        problems.append(f"methods: not readable: {odd}")


def hyper_keys(name: str, method: Any) -> dict[str, type[Settings]]:
    """The params keys of a method: one section, or `update` and `revise` where it consolidates."""
    if method.revise is None:
        return {f"methods.{name}": method.hyper}
    return {f"methods.{name}.update": method.hyper, f"methods.{name}.revise": method.revise}
