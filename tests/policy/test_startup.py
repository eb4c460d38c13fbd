"""What a command imports before it works: without a clock, since what is not imported takes no time."""

import ast
import subprocess
import sys

import pytest

from tests.support.project import ROOT

HEAVY = ["torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "sklearn", "PIL", "dvc", "pyautoattack"]
DRAWING = ["pandas", "matplotlib", "sklearn", "jinja2", "markdown_it"]
STAGES = sorted((ROOT / "stages").glob("*.py"))
TRAINING = [path for path in STAGES if path.stem != "report"]

HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""
WHOLE = """
import importlib, sys
from pathlib import Path
from cure.settings import check, params
check.check(params.read(Path("quickstart/params.yaml"))).refuse(Path("params.yaml"))
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def imported(code: str, *words: object) -> set[str]:
    """The packages that are loaded when the code ends."""
    told = code + "\nprint('\\n' + ' '.join(sys.modules))"
    line = [sys.executable, "-c", told, *map(str, words)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def modules_of(*scripts) -> list[str]:
    """The project's modules that scripts import, those inside of functions too."""
    nodes = [node for path in scripts for node in ast.walk(ast.parse(path.read_text()))]
    places = [node for node in nodes if isinstance(node, ast.ImportFrom) and str(node.module).startswith("cure")]
    named = {str(node.module) for node in places}
    named |= {f"{node.module}.{alias.name}" for node in places for alias in node.names}
    return sorted(name for name in named if (ROOT / (name.replace(".", "/") + ".py")).exists())


@pytest.mark.parametrize("script", [ROOT / "cure" / "cli.py", *STAGES], ids=lambda path: path.stem)
def test_help_imports_nothing_heavy(script) -> None:
    code = "import sys\nsys.argv = ['cure', '--help']\nfrom cure.cli import main\ntry:\n    main()\n"
    code += "except SystemExit as end:\n    assert not end.code"
    found = imported(code) if script.stem == "cli" else imported(HELP, script)
    assert "typer" in found
    assert found & set(HEAVY) == set()


def test_no_stage_but_the_report_loads_what_tables_and_pictures_need() -> None:
    found = imported(WHOLE, *modules_of(*TRAINING))
    assert {"cure", "torch"} <= found
    assert found & set(DRAWING) == set()


def test_an_evaluation_loads_them_as_little() -> None:
    found = imported(WHOLE, "cure.evaluation.standalone.command", "cure.evaluation.standalone.api")
    assert {"cure", "torch"} <= found
    assert found & set(DRAWING) == set()


def test_cure_itself_loads_nothing_heavy_and_a_loop_of_ones_own_no_more_than_a_training() -> None:
    assert imported("import sys, cure") & set(HEAVY) == set()
    found = imported("import sys\nfrom cure import training_step\nfrom cure.methods import trades")
    assert "torch" in found
    assert found & {*DRAWING, "dvc", "ruamel", "typer"} == set()


def test_the_report_would_be_seen_to_load_them() -> None:
    assert {"pandas", "markdown_it"} <= imported(WHOLE, "cure.reporting.build")
