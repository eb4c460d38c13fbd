"""What a stage imports, statically: the modules of this project that its script reaches, itself included."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEUTRAL = {"cure/errors.py", "cure/runtime/progress.py", "cure/runtime/terminal.py"}
NEUTRAL |= {f"cure/settings/{name}.py" for name in ("problems", "families", "check", "check_layers", "sections")}
NEUTRAL |= {f"cure/settings/{name}.py" for name in ("layers", "training")}
"""They check, complain or show progress and hold no default, so an edit there changes no number and re-runs nothing."""
TEMPLATES = (".html",)
"""Files beside a module that it opens by their name."""


def module_file(name: str) -> Path | None:
    """cure.nn.losses -> cure/nn/losses.py, None for foreign modules, packages and names inside modules."""
    path = ROOT / (name.replace(".", "/") + ".py")
    return path if name.split(".")[0] == "cure" and path.exists() else None


def imports(path: Path) -> set[Path]:
    """The project's files that one file imports, anywhere in it, and the templates beside it that it names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text()) if path.suffix == ".py" else ast.Module([], [])):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {file for name in names if (file := module_file(name))}
        if isinstance(node, ast.Constant) and str(node.value).endswith(TEMPLATES):
            found |= {file for file in [path.parent / node.value] if file.exists()}
    return found


def closure(*starts: Path) -> set[str]:
    """Every file of the project reached from `starts`, relative to the root, without the neutral ones."""
    todo, seen = list(starts), set(starts)
    while todo:
        new = imports(todo.pop()) - seen
        seen |= new
        todo.extend(new)
    return {str(path.relative_to(ROOT)) for path in seen} - NEUTRAL
