"""Check the methods of the grid: each is in the list of its family, and none plays a role that it needs itself."""

from collections.abc import Iterator
from typing import Any

from cure import catalogue
from cure.errors import did_you_mean
from cure.settings.problems import Problems
from cure.settings.sections import FAMILIES


def family(method: Any) -> str:
    """Return the list of the grid that a method belongs in, named by where it starts and whether revise follows."""
    if not method.updates:
        return f"revise_from_{method.init}"
    parents = "both" if set(method.roles) == {"natural", "teacher"} else "_and_".join(method.roles)
    return "update" + (f"_from_{parents}" if parents else "") + ("_to_revise" if method.select_network else "")


def listed(grid: Any) -> Iterator[tuple[str, str]]:
    """Yield (list, method) for each method that the section `grid` names, and skip what cannot be read."""
    for name in FAMILIES:
        methods = grid.get(name) if isinstance(grid, dict) else None
        yield from (
            ((name, method) for method in methods if isinstance(method, str)) if isinstance(methods, list) else ()
        )


def all_methods(grid: Any) -> list[str]:
    """Return every method of the table, without those that cannot be read."""
    return ["natural", *(name for _, name in listed(grid))]


def roles_in_use(grid: Any) -> set[str]:
    """Return the roles that the methods of the table need."""
    return {role for name in all_methods(grid) for role in _roles(name)}


def check_families(grid: Any, problems: Problems) -> None:
    """Check that each method is in the list whose stages read and write its files."""
    known = catalogue.names("methods")
    for where, name in listed(grid):
        if name in known and (wanted := family(catalogue.entry("methods", name).METHOD)) != where:
            todo = "name it there" if wanted in FAMILIES else "dvc.yaml has no such family"
            problems.append(f"grid.{where}: {name} belongs in {wanted}; {todo}")


def check_roles(roles: Any, grid: Any, problems: Problems) -> None:
    """Check that the method of each role can be trained before those that need it; an unused role stops nothing."""
    if not isinstance(roles, dict) or not isinstance(grid, dict):
        return
    known, wanted = all_methods(grid), roles_in_use(grid)
    for role, method in roles.items():
        told = problems.of(used=role in wanted)
        if isinstance(method, str) and method not in known:
            told.append(f"roles.{role}: {method!r} is not a method of the grid{did_you_mean(method, known)}")
        elif isinstance(method, str) and _needs(method, role, roles):
            free = [other for other in known if not _needs(other, role, roles)]
            told.append(f"roles.{role}: {method!r} needs the {role} method itself; name one of {', '.join(free)}")


def check_against(report: Any, grid: Any, problems: Problems) -> None:
    """Check that each method that the report compares with is in the grid; the report leaves out the others."""
    named = report.get("against") if isinstance(report, dict) else None
    for method in named if isinstance(named, list) else ():
        if isinstance(method, str) and method not in all_methods(grid):
            near = did_you_mean(method, all_methods(grid))
            problems.unused.append(f"report.against: {method!r} is not a method of the grid{near}")


def check_lists(raw: dict[str, Any], problems: Problems) -> None:
    """Check that no list of a suite or of the report names an entry twice; the grid has a check of its own."""
    for section in ("attack", "corrupt", "report"):
        for key, named in raw[section].items() if isinstance(raw.get(section), dict) else ():
            if isinstance(named, list) and len({repr(name) for name in named}) != len(named):
                problems.append(f"{section}.{key}: names an entry twice; remove one")


def _needs(method: str, role: str, roles: dict[str, Any]) -> bool:
    """Return whether `method`, or a method that it starts or learns from, needs the one in `role`."""
    todo, seen = {method}, set[str]()
    while todo:
        seen |= todo
        wanted = {need for name in todo for need in _roles(name)}
        if role in wanted:
            return True
        todo = {roles[need] for need in wanted if isinstance(roles.get(need), str)} - seen
    return False


def _roles(name: str) -> list[str]:
    if name not in catalogue.names("methods"):
        return []
    return [role for role in catalogue.entry("methods", name).METHOD.roles if role != "natural"]
